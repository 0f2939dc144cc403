"""A published model: it loads, its card is true and cannot be broken, its folder and repository are nobody else's."""

import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import adapters
import pytest
import tiny
import torch
import yaml
from common import ROOT
from hub_server import TOKEN, Hub
from huggingface_hub import ModelCard
from huggingface_hub import constants as hub_constants
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import example, given
from hypothesis import strategies as st
from made_sweeps import score
from markdown_it import MarkdownIt
from outcomes import finish
from peft import PeftModel
from scipy.stats import binomtest
from values import benchmark, component, mixed, model, request

from sft_sweeps.benchmarks.gsm8k import Gsm8kConfig
from sft_sweeps.commands.main import main
from sft_sweeps.commands.publish import folder, licences
from sft_sweeps.commands.publish.card import public
from sft_sweeps.commands.publish.markdown import block, code, escape, table
from sft_sweeps.files.json_files import write_json
from sft_sweeps.plan.build import Plan, Run, build
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import FREED, Store, check_identity, write_record
from sft_sweeps.store.sweeps import freeze

MATH, DMT, CODE = range(3)  # the runs of the plan; math alone is not finished
ITEMS = 40
RIGHT = {"base": range(4), "dmt": range(2, 32), "code": range(6)}
SECTION = (ROOT / "docs" / "json.md").read_text(encoding="utf-8").partition("## publish\n")[2].partition("\n## ")[0]
DOCUMENTED = {
    of.strip("`[]"): set(re.findall("`(\\w+)`", keys))
    for of, keys in re.findall(r"^\| (all|`\w+\[\]`) \| ([^|]+)", SECTION, re.M)
}
HOME = "/home/somebody"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Math alone, DMT, code alone; GSM8K's published items whole, and another set."""
    asked = (
        replace(benchmark("gsm8k", content=Gsm8kConfig().content or "sha256:0"), examples=ITEMS, total=ITEMS),
        replace(benchmark("mini_math"), examples=ITEMS, total=2 * ITEMS),
    )
    sources = tuple(
        replace(one, source=replace(one.source, licence="mit", origin=f"{one.source.name} | of *somebody*"))
        for one in mixed()
    )
    points = {
        "data=math": request((component("math"),), base=model(gpus=8), benchmarks=asked),
        f"strategy=dmt strategy.k=1/4 data.sources.math.path={HOME}/m.jsonl cluster.account=secret": request(
            sources, strategy="dmt", k=Fraction(1, 4), base=model(gpus=8), benchmarks=asked, base_model=True
        ),
        "data=code": request((component("code"),), base=model(gpus=8), benchmarks=asked),
    }
    return build(list(points.items()))


@pytest.fixture
def root(tmp_path: Path, plan: Plan, weights: Path) -> Path:
    """A store in which the second and third run are trained and scored."""
    store = Store(tmp_path / "store")
    for run in (plan.runs[DMT], plan.runs[CODE]):
        for stage in run.stages:
            trained(store, stage, weights)
    finish(store, plan.models[0])
    names = {plan.models[0].id: "base", plan.runs[DMT].id: "dmt", plan.runs[CODE].id: "code"}
    for one in plan.scores:
        if name := names.get(one.generation.subject.id):
            right = RIGHT[name] if one.generation.benchmark.name == "gsm8k" else range(3)
            score(store, one, [number in right for number in range(ITEMS)], "a text of the test set")
    freeze(plan, store, "mine", "What is kept?", [])
    return store.root


def trained(store: Store, stage: Stage, weights: Path) -> None:
    made = store.folder(stage)
    shutil.copytree(weights, made / "model")
    check_identity(made, stage.payload)
    counts = {c.source.name: {"examples": 7, "ids": [f"{c.source.name}/1"]} for c in stage.mixture.components}
    write_json(made / "data.json", {"sources": counts})
    names = [f"model/{path.name}" for path in (made / "model").iterdir()]
    execution = {"processes": 8, "device": "NVIDIA A100", "torch": "2.13.0"}
    write_record(made, stage.payload, names, {"seconds": 90.0, "execution": execution, "last": {"loss": 0.5}})


def published(capsys: pytest.CaptureFixture[str], root: Path, *words: str, status: int = 0) -> Any:
    assert main(["publish", *words, "--output-dir", str(root), "--json"]) == status
    out, err = capsys.readouterr()
    if not out:
        return err
    found = json.loads(out)
    told = [("all", found), *(("published", one) for one in found["published"])]
    assert {of: DOCUMENTED[of] - one.keys() for of, one in told} == {of: set() for of, _ in told}
    assert all(one.keys() <= DOCUMENTED[of] for of, one in told)
    return found


def refused(capsys: pytest.CaptureFixture[str], root: Path, *words: str, status: int = 2) -> str:
    message = published(capsys, root, *words, status=status)
    assert isinstance(message, str)
    assert message.startswith("error ")
    assert message.count("\n") == 1  # a line
    return message


def of(root: Path, plan: Plan, run: int = DMT) -> Path:
    return Store(root).folder(plan.runs[run].stages[-1])


def header(target: Path) -> dict[str, Any]:
    return ModelCard((target / "README.md").read_text(encoding="utf-8")).data.to_dict()


def test_a_published_model_loads_and_is_the_stage_s(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    target = tmp_path / "out"
    (one,) = published(capsys, root, plan.runs[DMT].id, "--out", str(target))["published"]
    assert (one["id"], one["folder"]) == (plan.runs[DMT].id, str(target))
    shutil.rmtree(root)  # a copy lives on, and hard links too
    model = AutoModelForCausalLM.from_pretrained(target)
    assert model.config.hidden_size == 32
    assert AutoTokenizer.from_pretrained(target)("1 + 1")["input_ids"]
    assert not [path for path in target.rglob("*") if path.is_symlink()]


def test_the_card_says_what_it_is(capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path) -> None:
    target = tmp_path / "out"
    published(capsys, root, plan.runs[DMT].label, "--out", str(target))
    text = (target / "README.md").read_text(encoding="utf-8")
    for part in (
        "What is kept?",
        "| math | math | 1/4 | 7 | mit | math \\| of \\*somebody\\* | `sha256:math` |",
        "| learning_rate | 2e-05 |",
        "0.20 GPU-hours",
        "| gsm8k, accuracy | 75.0 % | 40 |",
        "| mini_math, accuracy | 7.5 % | 40 of 80 |",
        "sft-sweeps launch strategy=dmt strategy.k=1/4 data.sources.math.path=m.jsonl",
        f"vllm serve . --served-model-name {plan.runs[DMT].id}",
    ):
        assert part in text
    assert (header(target)["license"], header(target)["pipeline_tag"]) == ("unknown", "text-generation")


def test_nothing_of_the_site_and_no_text_of_the_data_is_published(
    capsys: pytest.CaptureFixture[str], root: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    published(capsys, root, "mine", "--out", str(target), status=1)
    texts = [path for path in target.rglob("*") if path.is_file() and path.suffix != ".safetensors"]
    assert len(texts) >= 12
    for path in texts:
        content = path.read_text(encoding="utf-8")
        for word in (HOME, "secret", str(root), "a text of the test set"):
            assert word not in content, path
    data = json.loads(next(target.glob("*/training/2-*/data.json")).read_text())
    assert data["sources"]["math"]["ids"] == ["math/1"]


def test_scores_are_told_to_the_hub_in_both_forms(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    """In the current one only where all published items were asked: the hub ranks by it."""
    target = tmp_path / "out"
    published(capsys, root, plan.runs[DMT].id, "--out", str(target))
    _, found = model_index_to_eval_results(header(target)["model-index"])
    assert {one.dataset_type: one.metric_value for one in found} == {"openai/gsm8k": 75.0, "mini_math": 7.5}
    assert [path.name for path in (target / ".eval_results").iterdir()] == ["gsm8k.yaml"]
    (entry,) = yaml.safe_load((target / ".eval_results" / "gsm8k.yaml").read_text())
    assert (entry["dataset"], entry["value"]) == ({"id": "openai/gsm8k", "task_id": "gsm8k"}, 75.0)
    assert "30 of 40 right, 95 % interval 59.8 to 85.8" in entry["notes"]  # Wilson's, by hand


def test_differences_to_the_base_model_are_exact_tests_and_one_family(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    """2 items only the base has right, 28 only DMT; on the other set both have the same three."""
    target = tmp_path / "out"
    published(capsys, root, plan.runs[DMT].id, "--out", str(target))
    rows = re.findall(r"^\| (\w+), accuracy \|.*\| ([^|]+) \| (\w*) \|$", (target / "README.md").read_text(), re.M)
    assert 2 * binomtest(2, 30).pvalue < 0.05
    assert [(name, change.split()[0], sure) for name, change, sure in rows] == [
        ("gsm8k", "+65.0", "yes"),
        ("mini_math", "+0.0", "no"),
    ]
    published(capsys, root, plan.runs[CODE].id, "--out", str(tmp_path / "code"))
    assert "| not compared |" not in (tmp_path / "code" / "README.md").read_text()  # the base is scored for all


def test_a_sweep_has_a_folder_for_each_run_and_an_index(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    found = published(capsys, root, "mine", "--out", str(target), status=1)
    assert [one["id"] for one in found["published"]] == [plan.runs[DMT].id, plan.runs[CODE].id]
    (left,) = found["left_out"]
    assert (left["id"], "it is missing" in left["why"]) == (plan.runs[MATH].id, True)
    index = (target / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\(<([^>]+)>\)", index)
    assert len(links) == 2
    assert all((target / link).is_file() for link in links)
    assert left["label"] in index
    assert published(capsys, root, "mine", "--out", str(target), status=1) == found  # again, the same
    (best,) = published(capsys, root, "mine", "--best", "gsm8k", "--out", str(tmp_path / "best"))["published"]
    assert best["id"] == plan.runs[DMT].id


def test_what_cannot_be_published_is_said_in_a_line(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path / "out")]
    math, dmt = plan.runs[MATH].id, plan.runs[DMT].id
    assert "it is missing: new; launch it again: " in refused(capsys, root, math, *out)
    assert "is a base model" in refused(capsys, root, plan.models[0].id, *out)
    assert "no stage, run or sweep 'nosuch'" in published(capsys, root, "nosuch", *out, status=2)
    assert "did you mean mine?" in published(capsys, root, "minee", *out, status=2)
    assert "--push OWNER/NAME" in refused(capsys, root, dmt, "--public", *out)
    assert "valid: gsm8k, mini_math" in refused(capsys, root, "mine", "--best", "nosuch", *out)
    assert "leave it out" in refused(capsys, root, dmt, "--best", "gsm8k", *out)
    assert "OWNER/NAME" in refused(capsys, root, dmt, "--push", "no name", *out)
    model = of(root, plan) / "model" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    assert "is not what was written" in refused(capsys, root, dmt, *out)
    write_json(of(root, plan) / FREED, {"sweep": "another", "time": "today"})
    assert "freed by the retention of another" in refused(capsys, root, dmt, *out)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_alone(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    dmt, mine, other = plan.runs[DMT].id, tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    (mine / "thesis.tex").write_text("years of work")
    published(capsys, root, plan.runs[CODE].id, "--out", str(other))
    before = sorted(other.rglob("*"))
    assert "something else" in refused(capsys, root, dmt, "--out", str(mine))
    assert plan.runs[CODE].label in refused(capsys, root, dmt, "--out", str(other))
    assert "something else" in refused(capsys, root, "mine", "--out", str(mine))
    assert "no folder" in refused(capsys, root, dmt, "--out", str(mine / "thesis.tex"))
    assert [path.name for path in mine.iterdir()] == ["thesis.tex"]
    assert sorted(other.rglob("*")) == before


def test_a_killed_start_is_continued(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until everything is there, nothing is under the name that was asked for."""
    copied: list[str] = []
    whole = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        if len(copied) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        copied.append(source.name)
        whole(source, target)

    monkeypatch.setattr(folder.shutil, "copyfile", copy)
    target, dmt = tmp_path / "out", plan.runs[DMT].id
    assert "No space left" in refused(capsys, root, dmt, "--copy", "--out", str(target))
    assert not target.exists()
    first = list(copied)
    monkeypatch.setattr(folder.shutil, "copyfile", lambda *pair: (copied.append(pair[0].name), whole(*pair)))
    published(capsys, root, dmt, "--copy", "--out", str(target))
    model = [path.name for path in (of(root, plan) / "model").iterdir()]
    assert sorted(name for name in copied if name in model) == sorted(model)  # each once
    assert len(first) == 3
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_a_new_score_changes_the_card_and_no_weights(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path
) -> None:
    target = tmp_path / "out"
    published(capsys, root, plan.runs[CODE].id, "--out", str(target))
    before = (target / "model.safetensors").stat()
    assert before.st_ino == (of(root, plan, CODE) / "model" / "model.safetensors").stat().st_ino  # no room is taken
    assert before.st_nlink == 2
    assert (target / "config.json").stat().st_nlink == 1  # may be edited
    (gsm8k,) = Store(root).folder(plan.runs[CODE].stages[-1]).glob("scores/gsm8k-*")
    shutil.rmtree(gsm8k)
    published(capsys, root, plan.runs[CODE].id, "--out", str(target))
    assert "Not scored yet: gsm8k" in (target / "README.md").read_text()
    assert not (target / ".eval_results" / "gsm8k.yaml").exists()
    assert (target / "model.safetensors").stat().st_ino == before.st_ino
    sizes = json.loads((target / folder.MARK).read_text())["files"]
    assert {name: (target / name).stat().st_size for name in sizes} == sizes


PARSER = MarkdownIt("commonmark").enable("table")
TEXT = st.text(st.characters(codec="utf-8"), max_size=30) | st.text("`*_[]()<>|\\#-+.1 !&;\n", max_size=12)


@given(TEXT)
@example("<script>alert(1)</script>")
@example("![x](javascript:a)")
@example("a | b")
@example("1. x")
@example("# x")
@example("&lt;b&gt;")
def test_no_text_is_more_than_text(value: str) -> None:
    """As another program reads it: in a line of its own, in a table's cell, as code and as a block."""
    shown = " ".join(escape(value).split())
    plain = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    tokens = PARSER.parse(f"x {shown}\n\n{shown}" if plain else "x")
    inner = [child for token in tokens for child in token.children or []]
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}
    assert {child.type for child in inner} <= {"text", "text_special", "softbreak"}
    cells = [token for token in PARSER.parse(table(["a", "b"], [[value, code(value)]])) if token.type == "inline"]
    assert [cell.content for cell in cells[:2]] == ["a", "b"]
    assert len(cells) == 4
    assert {child.type for child in cells[2].children or []} <= {"text", "text_special"}
    (fence,) = PARSER.parse(block(value))
    assert fence.type == "fence"


@given(st.text("a<b&`*_|#[]!", min_size=1, max_size=8))
def test_a_text_is_shown_as_it_is(value: str) -> None:
    inline = PARSER.parse(f"x{escape(value)}")[1]
    assert "".join(child.content for child in inline.children or []) == f"x{value}"


@given(st.lists(st.sampled_from(["", "mit", "apache-2.0", "my own"]), min_size=1, max_size=5))
def test_the_header_never_claims_a_licence_that_a_part_has_not(parts: list[str]) -> None:
    said = licences.header(parts)
    assert said["license"] in licences.ON_HUB
    if said["license"] not in ("other", "unknown"):
        assert set(parts) == {said["license"]}
    assert ("" in parts) == (said["license"] == "unknown")


def test_a_published_command_line_is_of_no_site() -> None:
    point = "study=x cluster=slurm cluster.time=3 output_dir=/scratch/me store.read_from=[/a] tracking.entity=me"
    more = "model.folder=/w/llama,/v/other evaluate.mt_bench.judge.base_url=http://10.0.0.1 data.fraction=1/4 name=mine"
    assert public(f"{point} {more}") == "study=x model.folder=llama,other data.fraction=1/4"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub_constants, "ENDPOINT", server.url)
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# httpx of the way in which huggingface_hub uploads.
OF_THE_UPLOAD = pytest.mark.filterwarnings("default:Use 'content=:DeprecationWarning")


@OF_THE_UPLOAD
def test_a_folder_is_pushed_once(
    capsys: pytest.CaptureFixture[str], root: Path, plan: Plan, tmp_path: Path, hub: Hub
) -> None:
    target, name = tmp_path / "out", "me/dmt"
    words = (plan.runs[DMT].id, "--out", str(target), "--push", name)
    (one,) = published(capsys, root, *words)["published"]
    there = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert hub.repositories[name] == there | {".gitattributes": b""}
    assert (hub.private[name], one["repository"]) == (True, f"{hub.url}/{name}")
    assert f"vllm serve {name} " in there["README.md"].decode()
    assert len(hub.uploads) == 1
    published(capsys, root, *words)
    assert len(hub.uploads) == 1  # the weights are there
    assert hub.repositories[name].keys() == there.keys() | {".gitattributes"}
    found = published(capsys, root, "mine", "--out", str(tmp_path / "all"), "--push", "me/all", "--public", status=1)
    names = ["me/all-mini-dmt-k-1_4", "me/all-mini-code-only"]
    assert [one["repository"] for one in found["published"]] == [f"{hub.url}/{one}" for one in names]
    assert [hub.private[one] for one in names] == [False, False]
    assert all(f"{hub.url}/{one}" in (tmp_path / "all" / "README.md").read_text() for one in names)
    assert TOKEN not in "".join(content.decode("utf-8", "replace") for content in there.values())


@OF_THE_UPLOAD
def test_the_hub_s_refusals_are_a_line_without_the_token(
    capsys: pytest.CaptureFixture[str], root: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("mini dmt k=1/4", "--out", str(tmp_path / "out"), "--push", "me/taken")
    hub.repositories["me/taken"] = {"thesis.tex": b"years of work"}
    said = [refused(capsys, root, *words)]
    assert "holds something else" in said[-1]
    assert hub.repositories["me/taken"] == {"thesis.tex": b"years of work"}
    words = (*words[:-1], "me/new")
    hub.fails["/commit/"] = 400
    said.append(refused(capsys, root, *words, status=1))
    assert "the hub answered 400" in said[-1]
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    said.append(refused(capsys, root, *words))
    assert "the hub refused the token (401); set HF_TOKEN" in said[-1]
    monkeypatch.setattr(hub_constants, "HF_HUB_OFFLINE", True)
    said.append(refused(capsys, root, *words))
    assert "HF_HUB_OFFLINE is set" in said[-1]
    assert (tmp_path / "out" / "README.md").is_file()
    assert not [line for line in said if TOKEN in line or "hf_wrong" in line]
    assert os.environ["HF_TOKEN"] == "hf_wrong"


def test_an_adapter_is_published_alone_where_its_base_is_the_hub_s(
    capsys: pytest.CaptureFixture[str], weights: Path, tmp_path: Path
) -> None:
    """Else merged into it; PEFT and transformers load either, with the same logits."""
    from transformers import AutoModelForCausalLM

    store, logits = Store(tmp_path / "store"), []
    for number, origin in enumerate(("owner/small", "")):
        base = model(f"small{number}", path=str(weights), origin=origin)
        (stage,) = adapters.chained(base, "continue")
        adapters.finish(store, stage, weights)
        check_identity(store.folder(stage), stage.payload)
        run = Run("x", "multi_task", base, (stage,), points=("data=math",))
        freeze(Plan((run,), (stage,), (), (), 1, 1, 0.0, models=(base,)), store, f"of{number}", "", [])
        target = tmp_path / f"out{number}"
        published(capsys, store.root, stage.id, "--out", str(target))
        card = (target / "README.md").read_text(encoding="utf-8")
        if origin:
            said = json.loads((target / "adapter_config.json").read_text())
            assert said["base_model_name_or_path"] == origin
            assert (header(target)["library_name"], header(target)["base_model"]) == ("peft", origin)
            assert not list(target.glob("model*.safetensors"))
            assert "This is a LoRA adapter alone: it needs the weights of owner/small" in card
            assert "vllm serve owner/small --enable-lora --max-lora-rank 2 --lora-modules" in card
            loaded: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(weights), str(target))
        else:
            assert "merged into these weights" in card
            loaded = AutoModelForCausalLM.from_pretrained(target)
        assert "| adapter | lora, rank 2, alpha 4.0 |" in card
        logits.append(loaded(input_ids=torch.arange(3, 30)[None]).logits)
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)
