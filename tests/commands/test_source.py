"""`sft-sweeps source add`: what it counts is what training would read, and what it writes is a source that launches."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from common import SHARED, needs_shared
from fuzzing import answer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_sweeps.commands.main import main
from sft_sweeps.data.look import look
from sft_sweeps.spec.data import Source

ROWS = {
    "good": json.dumps({"question": "How much is 3 + 3?", "answer": "3 + 3 = 6"}),
    "empty_response": json.dumps({"question": "Why?", "answer": ""}),
    "broken_json": '{"question": ',
    "not_an_object": "7",
    "unknown_fields": json.dumps({"text": "all in one"}),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(count: int = 40, name: str = "sums.jsonl", row: str = ROWS["good"]) -> Path:
    Path(name).write_text("".join(f"{row}\n" for _ in range(count)))
    return Path(name)


def added(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["source", "add", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def written(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=st.lists(st.sampled_from(sorted(ROWS)), min_size=1, max_size=12))
def test_every_row_is_an_example_or_dropped_for_its_reason(kinds: list[str], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{ROWS[kind]}\n" for kind in ["good", *kinds]))
    tally = look(path, Source("rows", "", "auto", "", "general", 0, max_bad_fraction=1.0), "limit").tally
    assert tally.rows == 1 + len(kinds)
    assert tally.examples == 1 + kinds.count("good")
    assert dict(tally.dropped) == {kind: kinds.count(kind) for kind in set(kinds) - {"good"}}


def test_what_is_written_is_planned(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    found = added(capsys, str(made()))
    assert (found["name"], found["ability"], found["role"]) == ("sums", "math", "specialized")
    assert (found["format"], found["rows"], found["examples"], found["rounds"]) == ("question_answer", 40, 40, 40)
    assert found["keys"] == {"question": {"prompt": 40}, "answer": {"response": 40}}
    assert set(found["written"]) == written(here) == {"conf/source/sums.yaml", "conf/data/sums.yaml"}
    alone, among = (line.split()[2:-1] for line in found["use"])
    among = [word.replace("data=mixed", "data=mini") for word in among]
    for line, sources in ((alone, {"sums"}), (among, {"sums", "mini_code", "mini_general"})):
        given = answer(["model=mini", "train=mini", *line, "--json"], here / "out")
        assert given.status == 0, given.error
        mixture = {one["source"]: one["examples"] for one in json.loads(given.out)["plan"]["stages"][-1]["mixture"]}
        assert mixture.keys() == sources
        assert mixture["sums"] == 40
        assert "in place of" not in given.error, "the pin is the file's"


def test_an_ability_of_ones_own_joins_the_papers(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    found = added(capsys, str(made(name="Contracts 2024.v1.jsonl")), "--ability", "law", "--conf", "elsewhere")
    assert found["name"] == "contracts_2024"
    line = found["use"][1].split()[2:-1]
    assert line[:2] == ["--config-dir", "elsewhere"]
    assert line[-1] == "+source@data.sources.law=contracts_2024"
    given = answer([*line[:2], line[-1], "data=mini", "model=mini", "train=mini", "--json"], here / "out")
    mixture = json.loads(given.out)["plan"]["stages"][-1]["mixture"]
    assert {one["ability"] for one in mixture} == {"math", "code", "general", "law"}


def test_nothing_is_written_over(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    file = made()
    (here / "conf" / "data").mkdir(parents=True)
    (here / "conf" / "data" / "sums.yaml").write_text("mine")
    assert main(["source", "add", str(file)]) == 2
    assert "error conf/data/sums.yaml is there already" in capsys.readouterr().err
    assert written(here) == {"conf/data/sums.yaml"}
    assert added(capsys, str(file), "--name", "others")["name"] == "others"


def test_a_packed_file_that_is_damaged_is_told(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    packed = gzip.compress(made().read_bytes())
    for content in (packed[: len(packed) // 2], packed[:12] + bytes(8) + packed[20:]):
        (here / "sums.jsonl.gz").write_bytes(content)
        assert main(["source", "add", "sums.jsonl.gz", "--dry-run"]) == 2
        assert "sums.jsonl.gz is damaged (" in capsys.readouterr().err


def test_looking_writes_nothing(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    assert main(["source", "add", str(made()), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "40 rows, format question_answer" in said
    assert "would write: conf/source/sums.yaml" in said
    assert written(here) == set()


@pytest.mark.parametrize(
    ("file", "arguments", "says"),
    [
        ("absent.jsonl", (), "there is no file absent.jsonl"),
        (".", (), "there is no file ."),
        ("empty.jsonl", (), "empty.jsonl is empty"),
        ("other.jsonl", (), "unknown_fields"),
        ("half.jsonl", (), "or raise --max-bad-fraction (now 0.05)"),
        ("sums.jsonl", ("--format", "alpca"), "format alpca is not known. Choose from auto, "),
        ("sums.jsonl", ("--name", "a/b"), "--name=a/b cannot be used in the name of a folder"),
        ("sums.jsonl", ("--ability", ""), "--ability= cannot be used"),
        ("sums.jsonl", ("--name", "gsm8k"), "gsm8k is the name of a source that is installed"),
        ("sums.jsonl", ("--name", "mixed"), "mixed is the name of data that are installed"),
        ("sums.jsonl", ("--max-bad-fraction", "7"), "--max-bad-fraction 7 is no share"),
        ("sums.jsonl", ("--conf", "sums.jsonl"), "cannot be written (Not a directory)"),
    ],
)
def test_what_makes_no_source_is_told(
    file: str, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    made()
    made(0, "empty.jsonl")
    made(3, "other.jsonl", ROWS["unknown_fields"])
    made(2, "half.jsonl", f"{ROWS['good']}\n{ROWS['empty_response']}")
    assert main(["source", "add", file, *arguments]) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.startswith("error ")
    assert written(here) == set()


def test_the_yaml_is_what_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    found = added(capsys, str(made(name="s u m's.jsonl")), "--role", "general")
    content = yaml.safe_load(Path("conf/source/s_u_m_s.yaml").read_text())
    assert content.items() >= {key: found[key] for key in ("name", "ability", "rows", "content", "path")}.items()
    assert content["role"] == "general"
    assert Path(content["path"]).is_absolute()


@needs_shared
@pytest.mark.parametrize(
    ("name", "ability", "declared"),
    [
        ("train/gsm8k_train", "math", 235),
        ("train/code_alpaca_20k", "code", 137),
        ("oracles/fastchat_vicuna", "general", 0),
    ],
)
def test_published_data_are_told_apart(name: str, ability: str, declared: float) -> None:
    """And a first guess of their tokens is near what was measured with LLaMA's tokenizer."""
    path = next((SHARED / "data").rglob(f"{Path(name).name}.jsonl.gz"))
    seen = look(path, Source("x", "", "auto", "", "general", 0), "limit")
    assert seen.ability == ability
    assert not declared or abs(seen.mean_tokens / declared - 1) < 0.15


@pytest.mark.slow
def test_a_launch_trains_on_both_kinds_of_new_sources(capsys: pytest.CaptureFixture[str], here: Path) -> None:
    """One added, one by keys alone; each gives the examples that were counted."""
    found = added(capsys, str(made(48)), "--ability", "sums")
    law = made(33, "law.jsonl", json.dumps({"prompt": "Is clause 3 void?", "completion": "It is."}))
    line = ["model=mini", "train=mini", "train.epochs=1", "data=mini_math", "data.fraction=1/64", "evaluate=none"]
    line += ["+data.fractions.sums=1", "+data.fractions.law=1/3", "+source@data.sources.sums=sums"]
    given = answer([*line, f"+data.sources.law.path={law}", "action=launch", "--json"], here / "out")
    assert given.status == 0, given.error
    told = json.loads(given.out)  # and nothing else is on standard output
    assert (told["action"], told["status"], told["store"]) == ("launch", 0, str(here / "out"))
    assert (here / "out" / "sweeps" / told["sweep"]).is_dir()
    (data,) = (here / "out" / "stages").glob("*/data.json")
    trained = {name: one["examples"] for name, one in json.loads(data.read_text())["sources"].items()}
    assert trained == {"mini_math": 43, "sums": found["examples"], "law": 11}  # 1/64 of 2,800, all of 48, 1/3 of 33
