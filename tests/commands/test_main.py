"""`sft-sweeps` as users type it: one message and a status for what is wrong, JSON that parses, files that load."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT
from outcomes import accuracy, finish
from tokenizers import Tokenizer
from values import request

from sft_sweeps.commands import main
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.example import Example
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, freeze


@pytest.fixture
def plan() -> Plan:
    return build([("x", request(strategy="sequential", every_stage=True))])


@pytest.fixture
def sweep(plan: Plan, tmp_path: Path) -> Sweep:
    """One of three stages is trained and scored; in the folder that is looked into by default."""
    store = Store(tmp_path / "multirun_outputs")
    finish(store, plan.stages[0])
    accuracy(store, plan.scores[0], 29, 164)
    return freeze(plan, store, "mine", "Why?", ["x"])


def run(folder: Path, *arguments: str, shell: str = "") -> subprocess.CompletedProcess[str]:
    """A new process in a folder; `shell` is what its output is piped through."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "PYTHONUNBUFFERED": ""}
    line = [sys.executable, "-m", "sft_sweeps.commands.main", *arguments]
    if shell:
        line = ["bash", "-o", "pipefail", "-c", f'"$@" | {shell}', "bash", *line]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def fails(tmp_path: Path, *arguments: str, says: tuple[str, ...]) -> None:
    """Exit status 2, one message on standard error, nothing else."""
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in says), done.stderr


@pytest.mark.parametrize("command", ["status", "report"])
def test_no_sweep_yet(command: str, tmp_path: Path) -> None:
    fails(
        tmp_path,
        command,
        says=("error no sweep in multirun_outputs; start one with: sft-sweeps launch study=quickstart\n",),
    )
    assert list(tmp_path.iterdir()) == []


def test_what_to_type_is_there_where_it_is_said(tmp_path: Path) -> None:
    """`launch.py` is named in the checkout alone; in a folder of one's own, as `init` makes it, there is none."""
    done = run(ROOT, "status", "--output-dir", str(tmp_path))
    assert done.stderr == f"error no sweep in {tmp_path}; start one with: python launch.py study=quickstart\n"
    (tmp_path / "launch.py").write_text("print('of something else')")
    fails(tmp_path, "status", says=("start one with: sft-sweeps launch study=quickstart\n",))


def test_status_and_report_of_the_newest_sweep(sweep: Sweep, tmp_path: Path) -> None:
    done = run(tmp_path, "status")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"sweep {sweep.name}" in done.stdout
    assert "1 of 3 stages and 1 of 3 scores are done" in done.stdout
    done = run(tmp_path, "report", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert "17.7% (29/164) [12.6–24.2]" in done.stdout
    assert "missing 2 scores" in done.stdout
    written = {path.name for path in (sweep.folder / "report").iterdir()}
    assert written > {"results.json", "results.md", "results.csv", "index.html"}


def test_json_alone_goes_to_standard_output(sweep: Sweep, plan: Plan, tmp_path: Path) -> None:
    done = run(tmp_path, "status", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [stage["id"] for stage in found["stages"]] == [stage.id for stage in plan.stages]
    done = run(tmp_path, "report", "--json", "--out", "there")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads((tmp_path / "there" / "results.json").read_text())
    assert not (sweep.folder / "report").exists()


@pytest.mark.parametrize("arguments", [["status"], ["status", "--json"], ["report"], ["report", "--json"]])
@pytest.mark.parametrize("shell", ["head -n 1", "true"])
def test_a_reader_that_leaves_early(arguments: list[str], shell: str, sweep: Sweep, tmp_path: Path) -> None:
    assert sweep.folder.is_dir()
    done = run(tmp_path, *arguments, shell=shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == (shell != "true")


def test_a_sweep_that_is_not_there(sweep: Sweep, tmp_path: Path) -> None:
    fails(tmp_path, "status", "other", says=("no sweep 'other' in multirun_outputs; there are: ", sweep.name))
    fails(tmp_path, "status", "mien", says=("; did you mean mine?",))
    fails(tmp_path, "cancel", "mien", says=("no sweep 'mien' in multirun_outputs; there are: ", "; did you mean mine?"))
    fails(tmp_path, "show", "mini--meth", says=("no stage or run 'mini--meth'", "; did you mean "))


def test_a_plan_that_cannot_be_read(sweep: Sweep, tmp_path: Path) -> None:
    (sweep.folder / "plan.json").write_text("3")
    fails(tmp_path, "report", says=("plan.json cannot be read", "launch the sweep again"))


def test_a_place_that_cannot_be_written(sweep: Sweep, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in ("file", "file/deep"):
        fails(tmp_path, "report", sweep.name, "--out", out, says=(f"error {out} cannot be written (", "--out FOLDER"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["statsu"], "there is no command statsu; did you mean status? (all of them: sft-sweeps --help)"),
        (["--json", "status"], "--json stands before a command, where there are --help and --version alone"),
        (["status", "--jsno"], "there is no option --jsno; did you mean --json? (see: sft-sweeps status --help)"),
        (["status", "--output-di=x"], "there is no option --output-di; did you mean --output-dir?"),
        (["status", "a", "b"], "b is one word too many"),
        (["status", "--json", "--watch"], "--watch: not allowed with argument --json"),
        (["doctor", "slrum"], "did you mean slurm?"),
        (["score", "gsmk8"], "gsmk8 is unknown; valid: gsm8k, humaneval, mt_bench; did you mean gsm8k?"),
        (["score", "gsm8k", "a.jsonl", "--out", "o", "--partail"], "did you mean --partial?"),
        (["logs"], "the following arguments are required: STAGE"),
        (["tokenizer", "a.jsonl"], "the following arguments are required: --out"),
    ],
)
def test_words_that_are_not_known(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main.main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error ")
    assert says in told.err
    assert told.err.count("\n") == 1


def test_no_word_at_all_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 2
    assert "sft-sweeps COMMAND" in capsys.readouterr().out


def test_a_store_elsewhere(sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["status", "--output-dir", str(tmp_path / "multirun_outputs")]) == 0
    assert sweep.name in capsys.readouterr().out
    assert main.main(["status", "--output-dir", str(tmp_path / "absent")]) == 2


TEXTS = [f"Question {n}: how many früits 🍎 are {n} + {n}?\n\tThink." for n in range(59)] + ["lamps and trees " * 9]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": text, "answer": text[::-1]}) + "\n" for text in TEXTS))
    return path


def test_a_tokenizer_from_data(rows: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "tokenizer", rows.name, "--vocab-size", "400", "--out", "mine")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "written: mine; use it with model.tokenizer=mine\n"
    encoder = Encoder(tmp_path / "mine", "vicuna_bare", 4096)
    size = Tokenizer.from_file(str(tmp_path / "mine" / "tokenizer.json")).get_vocab_size()
    assert 300 < size <= 400
    for text in (*TEXTS, "日本語 never seen </s> <s>  \n", " "):
        encoded = encoder.encode(Example("e/0", (("Q", text),)))
        assert encoded is not None
        assert encoder.decode(encoded.input_ids[encoded.supervised].tolist()) == text
        assert max(encoded.input_ids) < size


def test_a_tokenizer_of_fewer_rows_is_another(rows: Path, tmp_path: Path) -> None:
    for count in ("1", "60"):
        assert main.main(["tokenizer", str(rows), "--rows", count, "--out", str(tmp_path / count)]) == 0
    few, all_ = (Tokenizer.from_file(str(tmp_path / count / "tokenizer.json")) for count in ("1", "60"))
    text = "lamps and trees"  # in the last row alone
    assert len(all_.encode(text).ids) < len(few.encode(text).ids)


def test_rows_that_cannot_be_used_are_said(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows.write_text(rows.read_text() + "{broken\n" * 100)
    assert main.main(["tokenizer", str(rows), "--out", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().err == f"note: 100 of the 160 rows of {rows} cannot be used\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["absent.jsonl", "--out", "mine"], "there is no file absent.jsonl"),
        (["rows.jsonl", "--out", "mine", "--vocab-size", "10"], "--vocab-size 10 is too small"),
        (["rows.jsonl", "--out", "mine", "--rows", "0"], "--rows 0 takes no row"),
        (["rows.jsonl", "--out", "rows.jsonl"], "rows.jsonl cannot be written (File exists)"),
        (["empty.jsonl", "--out", "mine"], "empty.jsonl is empty"),
        (["broken.jsonl", "--out", "mine"], "2 of the 2 rows of broken.jsonl cannot be used"),
    ],
)
def test_no_tokenizer_from_that(
    arguments: list[str],
    says: str,
    rows: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(rows.parent)
    Path("empty.jsonl").write_text("\n")
    Path("broken.jsonl").write_text("{\n{\n")
    assert main.main(["tokenizer", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not Path("mine").exists()
