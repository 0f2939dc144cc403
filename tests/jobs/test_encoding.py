"""Sources are encoded by one job, before all that needs them and before nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from chat_files import chats
from common import ROOT, Launch
from values import component, model, request, stage

from sft_sweeps.data import mini
from sft_sweeps.data.encode import prepare
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.execution import Executions
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.encoded import encoded_folder
from sft_sweeps.identity import plain, revive
from sft_sweeps.jobs import encoding
from sft_sweeps.jobs.job import Encoding, Job, encode_first, missing
from sft_sweeps.models import train_tokenizer
from sft_sweeps.models.pins import tokenizer_pin
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.spec.data import Cleaning, Component, Source
from sft_sweeps.spec.training import Model
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey

IDENTITY = tokenizer_pin(str(mini.TOKENIZER))[0]


def base(name: str = "mini", **changes: Any) -> Model:
    """A model with the shipped tokenizer."""
    return model(name, tokenizer=IDENTITY, tokenizer_path=str(mini.TOKENIZER), **changes)


def numbers(path: Path, good: int = 5, bad: int = 0) -> Source:
    path.write_text("".join(json.dumps({"question": f"{n}?", "answer": str(n)}) + "\n" for n in range(good)))
    with path.open("a") as file:
        file.writelines('{"x": 0}\n' for _ in range(bad))
    content, rows = content_pin(path)
    return Source(path.stem, content, "auto", "math", "specialized", rows, "counted", str(path))


def plan_of(*points: tuple[Model, list[Source], str]) -> Plan:
    return build(
        [
            (str(n), request(tuple(Component(s, Fraction(1), seed=0) for s in sources), strategy, base=each))
            for n, (each, sources, strategy) in enumerate(points)
        ]
    )


def jobs_of(plan: Plan, store: Store) -> list[Job]:
    found = missing(survey(plan, store), Executions())
    return encode_first(found, encoding.lacking(found, store))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_one_job_stands_above_every_tree_that_needs_it(tmp_path: Path, store: Store) -> None:
    ours, theirs = numbers(tmp_path / "ours.jsonl"), numbers(tmp_path / "theirs.jsonl", 6)
    made = component("mini_math", content="generated:x", rows_from="generated").source
    chain = (base(), [ours, replace(theirs, role="general")], "sequential")
    plan = plan_of(chain, (base("other"), [made], "multi_task"), (base("third"), [ours], "multi_task"))
    first, *others = jobs_of(plan, store)
    assert (first.kind, first.parent, first.subject) == ("encode", "", plan.models[0])
    assert [e.source.name for e in first.encodings] == ["ours", "theirs"]  # one tokenizer: "third" adds nothing
    assert first.gpus == 0
    below = {first.id}
    for job in others:
        below |= {job.id} if job.parent in below else set()
    models = {getattr(job.subject, "model", job.subject).name: job.id in below for job in others}
    assert models == {"mini": True, "other": False, "third": True}
    assert sum(not job.parent for job in others) == 1  # the base model of "other"
    assert revive(Job, plain(first)) == first


def test_what_is_there_is_not_encoded_again(tmp_path: Path, store: Store) -> None:
    source = numbers(tmp_path / "ours.jsonl")
    plan = plan_of((base(), [source], "multi_task"))
    first, *others = jobs_of(plan, store)
    encoding.encode(first, store, lambda: False)
    assert encoded_folder(first.encodings[0].key, store.roots)
    again = jobs_of(plan, store)
    assert [job.kind for job in again] == [job.kind for job in others]
    assert again[0].parent == ""
    Path(source.path).unlink()
    encoding.encode(first, store, lambda: False)
    elsewhere = Store(tmp_path / "empty", [store.root])
    assert [job.kind for job in jobs_of(plan, elsewhere)] == [job.kind for job in others]


def test_a_stage_finds_what_the_job_made(tmp_path: Path, store: Store) -> None:
    """The job has the model's tokenizer before the model is made; the stage has the model's own."""
    source = numbers(tmp_path / "ours.jsonl")
    first, *_ = jobs_of(plan_of((base(), [source], "multi_task")), store)
    encoding.encode(first, store, lambda: False)
    train_tokenizer.copy(mini.TOKENIZER, tmp_path / "model")
    of = stage(base(), [Component(source, Fraction(1), 0)]).recipe
    wish = prepare.encoded_key(source, tmp_path / "model", of.template, of.max_length)
    found = wish.find(store.roots)
    assert found is not None
    assert len(found) == 5


def test_without_the_tokenizer_the_job_can_only_be_planned(tmp_path: Path, store: Store) -> None:
    found = [numbers(tmp_path / "ours.jsonl"), numbers(tmp_path / "theirs.jsonl")]
    absent = model(weights="hub:org/name@1", tokenizer="hub:org/name@1", name="absent")
    first, *_ = jobs_of(plan_of((absent, found, "multi_task")), store)
    assert [(e.source.name, e.key) for e in first.encodings] == [("ours", ""), ("theirs", "")]


def job_of(store: Store, *sources: Source) -> Job:
    recipe = stage().recipe
    made = tuple(Encoding(source, base(), recipe.template, recipe.max_length, "") for source in sources)
    return Job("encode", str(store.root), base(), encodings=made)


def test_what_one_file_has_wrong_keeps_no_other_from_being_encoded(tmp_path: Path, store: Store) -> None:
    bad, good = numbers(tmp_path / "bad.jsonl", 5, 5), numbers(tmp_path / "good.jsonl")
    with pytest.raises(RunError, match=r"source bad: 5 of the 10 rows .* cannot be used"):
        encoding.encode(job_of(store, bad, good), store, lambda: False)
    assert [path.parent.name.rpartition("-")[0] for path in store.root.glob("encoded/*/account.json")] == ["good"]


def test_a_job_that_is_asked_to_stop_stops(tmp_path: Path, store: Store) -> None:
    with pytest.raises(Interrupted, match="while ours was encoded"):
        encoding.encode(job_of(store, numbers(tmp_path / "ours.jsonl")), store, lambda: True)
    assert list(store.root.glob("encoded/*/account.json")) == []


@pytest.mark.parametrize("changes", [{}, {"bug_compatible": True}])
def test_every_row_is_told_of_once(tmp_path: Path, store: Store, changes: dict[str, Any]) -> None:
    """Rows that are dropped and rows with examples are all the rows, whatever parts are dropped of them."""
    rules = Cleaning(split_tokens=60, drop_wrong_lists=True)
    source = chats(tmp_path / "chat.jsonl", 210, cleaning=rules, **changes)
    encoding.encode(job_of(store, source), store, lambda: False)
    (file,) = store.root.glob("encoded/*/account.json")
    account = json.loads(file.read_text())
    train_tokenizer.copy(mini.TOKENIZER, tmp_path / "tokenizer")
    wish = prepare.encoded_key(source, tmp_path / "tokenizer", stage().recipe.template, stage().recipe.max_length)
    shelf = wish.find(store.roots)
    assert shelf is not None
    kept = {shelf.example_id(place).partition("/")[2].partition("_")[0] for place in range(len(shelf))}
    assert sum(account["dropped_rows"].values()) + len(kept) == account["rows"] == 210
    (text,) = encoding.dropped("chat", account)
    assert text.startswith(f"chat: {210 - len(kept)} of 210 rows dropped: ")


def test_the_most_frequent_reason_comes_first() -> None:
    account = {"rows": 17_671, "dropped": {"a_b": 8, "c": 210, "p": 5}, "dropped_rows": {"a_b": 8, "c": 210}}
    (text,) = encoding.dropped("sharegpt", account)
    assert text == "sharegpt: 218 of 17,671 rows dropped: 210 c, 8 a b; parts of rows dropped: 5 p"
    assert list(encoding.dropped("clean", {"rows": 5, "dropped": {}})) == []


KILLED = """
import sys, time
from pathlib import Path
from chat_files import chats
from sft_sweeps.data import mini
from sft_sweeps.data.encode import prepare
from sft_sweeps.models import train_tokenizer as tokenizer
if __name__ == "__main__":
    root = Path(sys.argv[1])
    tokenizer.copy(mini.TOKENIZER, root)
    source = chats(root / "a.jsonl", 2000)
    def progress(_):
        (root / "begun").touch()
        time.sleep(60)
    prepare.get(prepare.encoded_key(source, root, "vicuna_bare", 60), root, [root], processes=2, progress=progress)
"""


def test_helpers_end_with_the_process_that_they_help(tmp_path: Path) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    process = subprocess.Popen([sys.executable, str(tmp_path / "killed.py"), str(tmp_path)], env=environment)
    until((tmp_path / "begun").exists)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not any(alive(int(child)) for child in children))


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(happens: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.1)


LINE = (
    "model=mini",
    "data=math",
    "data.fraction=1/2",
    "train=mini",
    "train.epochs=1",
    "evaluate=none",
    "tracking=none",
)


@pytest.mark.slow
def test_a_launch_encodes_first_and_says_what_is_dropped(launch: Launch, tmp_path: Path) -> None:
    numbers(tmp_path / "ours.jsonl", 99, 1)
    line = (*LINE, f"data.sources.math.path={tmp_path / 'ours.jsonl'}", "cluster=local", "output_dir=out")
    told = "ours: 1 of 100 rows dropped: 1 unknown fields"
    planned = launch(*line, "action=plan").stdout
    assert "one job without GPUs encodes first: ours; 1 job waits for it" in planned
    assert told not in planned  # nobody has looked yet
    done = launch(*line)
    assert done.returncode == 0, done.stderr
    assert "[ 1 of 3] encoded ours" in done.stdout
    assert done.stdout.count(told) == 1
    for again in (launch(*line, "action=plan"), launch(*line), launch(*line, "action=prepare")):
        assert again.stdout.count(told) == 1, again.stdout
        assert "encodes first" not in again.stdout


@pytest.mark.slow
def test_a_file_that_cannot_be_fetched_is_named_once_with_the_reason(launch: Launch) -> None:
    line = (*LINE, "data.sources.math.url=http://127.0.0.1:1/u33b.jsonl", "cluster=local", "output_dir=out")
    planned = launch(*line, "action=plan")
    assert "encodes first: gsm8k_rft (its file is not here)" in planned.stdout
    done = launch(*line)
    assert done.returncode == 2
    assert done.stderr.count("u33b.jsonl") == 2  # the address, and the place
    assert "cannot be fetched" in done.stderr
    assert "place it at out/data/gsm8k_rft/u33b.jsonl" in " ".join(done.stderr.split())


@pytest.mark.slow
@pytest.mark.long  # on a real Slurm: launch/slurm/test_encode.py
def test_status_of_a_failed_encoding_names_it(launch: Launch, tmp_path: Path) -> None:
    """A file that is too long to be looked at before: the job finds it out, and nothing is trained."""
    with (tmp_path / "ours.jsonl").open("w") as file:
        file.writelines(f'{{"question": "{n}?", "answer": "{"word " * 400}"}}\n{{"x": 0}}\n' for n in range(5000))
    line = (*LINE, f"data.sources.math.path={tmp_path / 'ours.jsonl'}", "cluster=local", "output_dir=out")
    done = launch(*line)
    assert done.returncode == 1
    reason = "source ours: 5,000 of the 10,000 rows"
    assert f"FAILED encode mini: {reason}" in done.stdout
    command = [
        sys.executable,
        "-m",
        "sft_sweeps.commands.main",
        "status",
        "--json",
        "--output-dir",
        str(tmp_path / "out"),
    ]
    found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout)
    (job,) = [job for job in found["jobs"] if job["kind"] == "encode"]
    assert job["state"] == "failed"
    assert job["why"].startswith(reason)
    assert [stage["why"] for stage in found["stages"]] == [f"its parent {job['id']} failed"]
