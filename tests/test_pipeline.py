"""The real command on real processes: a small sweep trained twice, killed, resumed, and gone wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from common import ROOT

from sft_sweeps.models import train_tokenizer as tokenizer

# A few steps a stage: what is under test is the path, not the learning.
SMALL = [
    "model=mini",
    "train=mini",
    "tracking=none",
    "train.epochs=1",
    "evaluate=mini",
    "evaluate.examples=6",
    "data.sources.math.rows=96",
    "data.sources.code.rows=64",
    "data.sources.general.rows=80",
]
CODE = ["model=mini", "train=mini", "data=mini_code", "evaluate=none", "tracking=none"]


def command(output: Path, overrides: Sequence[str]) -> list[str]:
    return [sys.executable, "launch.py", "cluster=local", *overrides, f"output_dir='{output}'"]


def launch(output: Path, *overrides: str, status: int = 0) -> str:
    done = subprocess.run(
        command(output, overrides), cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    text = done.stdout + done.stderr
    assert done.returncode == status, text
    assert "Traceback" not in text
    return text


def records(output: Path) -> dict[str, dict]:
    found = {path.parent.name: json.loads(path.read_text()) for path in output.glob("stages/*/record.json")}
    return {name.rpartition("-")[0]: record for name, record in found.items()}


def metrics(output: Path) -> list[dict]:
    path = next(output.glob("stages/*/metrics.jsonl"))
    return [json.loads(line) for line in path.read_text().splitlines()]


def workers(output: Path) -> list[int]:
    """Processes whose standard output is a log under this store."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = os.readlink(entry / "fd/1")
            except OSError:
                continue
            if target.startswith(f"{output}/stages/") and "train-" in target:
                found.append(int(entry.name))
    return sorted(found)


def started(output: Path, overrides: Sequence[str], step: int) -> subprocess.Popen[bytes]:
    """A launch that has trained so many steps."""
    with (output.parent / f"{output.name}.log").open("wb") as log:
        process = subprocess.Popen(command(output, overrides), cwd=ROOT, stdout=log, stderr=log)
    for _ in range(6000):
        for path in output.glob("stages/*/metrics.jsonl"):
            if path.read_bytes().count(b"\n") >= step:
                return process
        assert process.poll() is None, "the launch ended too early"
        time.sleep(0.02)
    raise AssertionError("no step in two minutes")


def gone(pids: Sequence[int], seconds: float) -> bool:
    """Whether all processes end within a time (zombies are gone)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A small study of four runs that share stages."""
    output = tmp_path_factory.mktemp("sweep")
    strategies = "strategy=sequential,mixed_sequential,multi_task,dmt"
    return output, launch(output, "data=mini", strategies, "strategy.k=1/4", *SMALL)


def test_every_stage_is_trained_once_and_scored(sweep: tuple[Path, str]) -> None:
    output, _ = sweep
    assert sorted(records(output)) == [
        "mini--code",
        "mini--code+math",
        "mini--code+math--general",
        "mini--code+math--general+code@1_4+math@1_4",
        "mini--code--math",
        "mini--code--math--general",
        "mini--general+code+math",
    ]
    results = json.loads(next(output.glob("sweeps/*/report/results.json")).read_text())
    assert results["missing"] == []
    assert len(results["runs"]) == 4
    assert all(len(stage["scores"]) == 3 for run in results["runs"] for stage in run["stages"])
    assert all(score["n"] == 6 for run in results["runs"] for score in run["scores"].values())


def test_the_same_command_again_trains_nothing_and_says_so(sweep: tuple[Path, str]) -> None:
    output, first = sweep
    before = {path: path.stat().st_mtime_ns for path in output.rglob("record.json")}
    text = launch(output, "data=mini", "strategy=sequential,mixed_sequential,multi_task,dmt", "strategy.k=1/4", *SMALL)
    assert "nothing to do: all 7 stages are trained" in text
    assert {path: path.stat().st_mtime_ns for path in output.rglob("record.json")} == before
    assert len(list(output.glob("sweeps/*"))) == 1
    table = first[first.index("\nrun  ") : first.index("written: ")]
    assert len(table.splitlines()) > 4
    assert table in text


def test_a_later_sweep_attaches_to_finished_stages(sweep: tuple[Path, str]) -> None:
    output, _ = sweep
    text = launch(output, "data=mini", "strategy=dmt", "strategy.k=1/2", *SMALL, "action=plan", "plan.measure=false")
    assert "1 done, 1 to run" in text


def test_a_stage_holds_what_it_was_trained_on_and_loads(sweep: tuple[Path, str]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output, _ = sweep
    folder = next(output.glob("stages/mini--code+math-[!-]*"))
    data = json.loads((folder / "data.json").read_text())
    assert {name: entry["examples"] for name, entry in data["sources"].items()} == {"mini_code": 64, "mini_math": 96}
    assert len(data["sources"]["mini_math"]["ids"]) == 96
    metrics = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert [row["step"] for row in metrics] == list(range(1, 11))
    model, loading = AutoModelForCausalLM.from_pretrained(folder / "model", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    chat = [{"role": "user", "content": "Write x."}, {"role": "assistant", "content": "x"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<s>USER: Write x. ASSISTANT: x</s>"
    assert model.config.vocab_size >= len(tokenizer)


# One process is `long`: two have what it has, and one's resuming is train/test_resume.py's too.
@pytest.fixture(
    scope="module",
    params=[pytest.param(1, marks=[pytest.mark.slow, pytest.mark.long]), pytest.param(2, marks=pytest.mark.slow)],
    ids=["one process", "two processes"],
)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    """The overrides of a stage of 150 steps, and the digest of its weights when nothing disturbs it."""
    output = tmp_path_factory.mktemp("undisturbed")
    overrides = [*CODE, f"cluster.processes={request.param}", "cluster.save_every_steps=20"]
    launch(output, *overrides)
    return overrides, records(output)["mini--code"]["digest"]


def finished_alike(output: Path, overrides: list[str], digest: str) -> None:
    assert "1 of 1 stages to train (each run alone would train 1), 1 of them from a resume state" in launch(
        output, *overrides
    )
    assert records(output)["mini--code"]["digest"] == digest
    assert [row["step"] for row in metrics(output)] == list(range(1, 151))
    assert not list(output.glob("stages/*/resume"))


def test_a_killed_worker_is_reported_and_resumes_to_the_same_weights(
    undisturbed: tuple[list[str], str], tmp_path: Path
) -> None:
    overrides, digest = undisturbed
    output = tmp_path / "out"
    launcher = started(output, overrides, 50)
    pids = workers(output)
    os.kill(pids[-1], signal.SIGKILL)
    assert launcher.wait(60) == 1
    assert gone(pids, 5), "the siblings of a killed process live on"
    assert "killed by SIGKILL" in (tmp_path / "out.log").read_text()
    text = launch(output, *overrides, "action=plan", "plan.measure=false")
    assert "failed" in text
    finished_alike(output, overrides, digest)


def test_a_killed_launcher_leaves_no_orphans_and_resumes_to_the_same_weights(
    undisturbed: tuple[list[str], str], tmp_path: Path
) -> None:
    overrides, digest = undisturbed
    output = tmp_path / "out"
    launcher = started(output, overrides, 50)
    pids = workers(output)
    assert pids
    launcher.kill()
    launcher.wait(10)
    assert gone(pids, 30)
    assert "interrupted" in launch(output, *overrides, "action=plan", "plan.measure=false")
    finished_alike(output, overrides, digest)


def test_a_terminated_launcher_saves_first(undisturbed: tuple[list[str], str], tmp_path: Path) -> None:
    overrides, digest = undisturbed
    output = tmp_path / "out"
    # Nothing is saved at an interval: what is there then comes of the signal.
    launcher = started(output, [*overrides, "cluster.save_every_steps=0", "cluster.save_every_seconds=0"], 30)
    launcher.terminate()
    assert launcher.wait(60) == 75
    (saved,) = output.glob("stages/*/resume/step-*")
    assert int(saved.name.partition("-")[2]) >= 30
    finished_alike(output, overrides, digest)


@pytest.mark.long  # a signal to one of two ranks: train/test_resume.py
def test_a_warning_signal_to_one_rank_makes_all_save(undisturbed: tuple[list[str], str], tmp_path: Path) -> None:
    overrides, digest = undisturbed
    output = tmp_path / "out"
    launcher = started(output, overrides, 30)
    os.kill(workers(output)[-1], signal.SIGUSR2)
    assert launcher.wait(60) == 1
    assert "stopped on a signal, its resume state is saved" in (tmp_path / "out.log").read_text()
    finished_alike(output, overrides, digest)


def test_a_stage_that_fails_takes_its_descendants_only(tmp_path: Path) -> None:
    data = tmp_path / "math.jsonl"
    data.write_text("".join(json.dumps({"question": "x " * 300, "answer": "y"}) + "\n" for _ in range(40)))
    overrides = [*SMALL, "data=mini", "strategy=sequential,multi_task", "data.sources.math.generated=false"]
    overrides += [f"data.sources.math.path={data}", "data.sources.math.rows=40", "train.max_length=64"]
    text = launch(tmp_path / "out", *overrides, status=1)
    # No example of math fits into 64 tokens: the stage on math alone has nothing to train on.
    assert "has a response within train.max_length=64" in text
    assert "its parent train-" in text
    assert sorted(records(tmp_path / "out")) == ["mini--code", "mini--general+code+math"]


@pytest.mark.slow
def test_two_launches_at_once_train_each_stage_once(tmp_path: Path) -> None:
    output = tmp_path / "out"
    pair = [subprocess.Popen(command(output, CODE), cwd=ROOT) for _ in range(2)]
    assert [process.wait(300) for process in pair] == [0, 0]
    assert [row["step"] for row in metrics(output)] == list(range(1, 151))
    log = next(output.glob("stages/*/logs/train-0.log")).read_text()
    assert "Error" not in log


@pytest.mark.slow
@pytest.mark.long  # that a file is missed: store/test_store.py; what is made again then: jobs/test_job.py
@pytest.mark.parametrize("undisturbed", [2], indirect=True, ids=["two processes"])  # no file tells how many trained it
def test_a_model_that_lost_a_file_is_made_again(undisturbed: tuple[list[str], str], tmp_path: Path) -> None:
    """What no valid record vouches for is not taken for finished: neither a stage's model nor the base model."""
    overrides, digest = undisturbed
    output = tmp_path / "out # ä?"
    launch(output, *overrides)
    next(output.glob("stages/*/model/tokenizer.json")).unlink()
    next(output.glob("models/*/model/config.json")).unlink()
    assert "nothing to do" in launch(output, *overrides)  # nothing needs the weights
    unscored = [override for override in overrides if override != "evaluate=none"]
    scored = [*unscored, "evaluate=mini", "evaluate.benchmarks=[mini_code]", "evaluate.examples=4"]
    launch(output, *scored)
    assert records(output)["mini--code"]["digest"] == digest
    assert "model/tokenizer.json" in records(output)["mini--code"]["files"]
    assert len(list(output.glob("models/*/model/config.json"))) == 1
    assert "nothing to do" in launch(output, *scored)


@pytest.mark.slow
@pytest.mark.long  # other stores: store/test_store.py; what is freed: jobs/test_retention.py
def test_what_another_store_has_is_not_trained_again_and_what_is_done_with_is_freed(
    sweep: tuple[Path, str], tmp_path: Path
) -> None:
    """A store of one's own reads the shared stage of another, and keeps only the model in which its run ends."""
    other, _ = sweep
    before = {path: path.stat().st_mtime_ns for path in other.rglob("*") if path.is_file()}
    output = tmp_path / "out"
    wanted = ["data=mini", "strategy=dmt", "strategy.k=1/8", *SMALL, f"store.read_from=['{other}']"]
    text = launch(output, *wanted)
    assert "1 of 2 stages to train" in text
    assert list(records(output)) == ["mini--code+math--general+code@1_8+math@1_8"]
    again = launch(output, *wanted)
    assert "nothing to do" in again
    table = [line for line in text.splitlines() if "dmt k=1/8" in line]
    assert table
    assert [line for line in again.splitlines() if "dmt k=1/8" in line] == table
    assert {path: path.stat().st_mtime_ns for path in other.rglob("*") if path.is_file()} == before

    output = tmp_path / "alone"
    text = launch(output, "data=mini", "strategy=mixed_sequential", *SMALL, "store.retention=final")
    assert "model freed" in text
    kept = {
        path.parent.name.rpartition("-")[0]: (path.parent / "model").is_dir()
        for path in output.glob("stages/*/record.json")
    }
    assert kept == {"mini--code+math": False, "mini--code+math--general": True}
    plan = launch(output, "data=mini", "strategy=mixed_sequential", *SMALL, "store.retention=final")
    assert "nothing to do" in plan


def test_a_stage_hands_on_the_tokenizer_that_it_was_trained_with(sweep: tuple[Path, str], tmp_path: Path) -> None:
    """Not that of the folder its weights come from: scores and children would read other tokens."""
    base = next(sweep[0].glob("models/*/model"))
    own = tmp_path / "tokenizer"
    tokenizer.save(tokenizer.train(["Write a function that adds"] * 9, 300), own)
    given = [*CODE, f"model.folder='{base}'", "model.weights=mine", f"model.tokenizer='{own}'"]
    launch(tmp_path / "out", *given, "train.epochs=1", "data.fraction=1/64")
    made = next((tmp_path / "out").glob("stages/*/model/tokenizer.json"))
    assert made.read_text() == (own / "tokenizer.json").read_text() != (base / "tokenizer.json").read_text()
