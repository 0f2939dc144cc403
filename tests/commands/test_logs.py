"""A job's log is found wherever it prints, and followed until the job has ended."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from common import ROOT
from outcomes import finish
from pretended_slurm import Pretended, row, start, submit
from values import request

from sft_sweeps.commands import main
from sft_sweeps.commands.logs import command as logs
from sft_sweeps.commands.logs.log import Tail
from sft_sweeps.commands.logs.subjects import find
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import write_json
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store import failures
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, freeze


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(logs, "QUEUE_SECONDS", 0.1)
    return start(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def plan() -> Plan:
    return build([("a", request(strategy="sequential"))])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def sweep(plan: Plan, store: Store) -> Sweep:
    """Its first stage was submitted as job 5_0."""
    made = freeze(plan, store, "mine", "", [])
    submit(made, "call", {f"train-{plan.stages[0].id}": "5_0"})
    return made


def log(store: Store, plan: Plan, name: str = "train-0", text: str = "") -> Path:
    path = store.folder(plan.stages[0]) / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def kept(sweep: Sweep, name: str, text: str) -> Path:
    path = sweep.folder / "slurm" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def show(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended, capsys: pytest.CaptureFixture[str]) -> Show:
    assert sweep.folder.is_dir()
    assert slurm.folder.is_dir()

    def command(*arguments: str, stage: str = plan.stages[0].id) -> tuple[int, str, str]:
        status = main.main(["logs", stage, *arguments, "--output-dir", str(store.root)])
        return status, *capsys.readouterr()

    return command


@pytest.mark.parametrize(
    ("text", "lines", "shown"),
    [
        ("a\nb\nc\n", 0, "a\nb\nc\n"),
        ("a\nb\nc\n", 1, "c\n"),
        ("a\nb\nc", 1, "c"),
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc\n", 3, "a\nb\nc\n"),
        ("a\nb\nc\n", 9, "a\nb\nc\n"),
        ("\n\n\n", 2, "\n\n"),
        ("10%\r20%\r30%\nend\n", 2, "10%\r20%\r30%\nend\n"),
        ("x" * 200_000 + "\n" + "y" * 200_000 + "\nz\n", 2, "y" * 200_000 + "\nz\n"),
        ("", 1, ""),
    ],
)
def test_the_last_lines(text: str, lines: int, shown: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(text.encode())
    with closing(Tail(path, lines)) as tail:
        assert tail.news() == shown.encode()


def test_the_worker_s_log(show: Show, plan: Plan, store: Store) -> None:
    path = log(store, plan, text="step 1\nstep 2\n")
    assert show() == (0, "step 1\nstep 2\n", f"==> {path} <==\n")
    assert show("--lines", "1")[1] == "step 2\n"
    log(store, plan, "train-3", "rank 3\n")
    assert show("--rank", "3")[1] == "rank 3\n"
    later = log(store, plan, "generate-0", "answers\n")
    os.utime(later, (time.time() + 9,) * 2)
    assert show()[1] == "step 1\nstep 2\nanswers\n"
    assert show("--lines", "1")[1] == "answers\n"
    assert show("--kind", "train")[1] == "step 1\nstep 2\n"
    status, out, err = show("--kind", "score")
    assert (status, out) == (1, "")
    assert "no log of score mini--code" in err


def test_the_signal_that_ended_a_rank_is_the_last_word(show: Show, plan: Plan, store: Store, sweep: Sweep) -> None:
    """And not what a library says of a lost peer; nothing, where the job goes on."""
    stage = plan.stages[0]
    log(store, plan, text="RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer\n")
    kept(sweep, "5_0_0_log.out", "sft-sweeps: start 1 on n7\nsrun: error: n7: task 1: Killed\n")
    failures.write(store.folder(stage), f"train-{stage.id}", f"{failures.PEERS}, and rank 0 with it")
    for lines in ("0", "1"):
        last = show("--lines", lines)[2].splitlines()[-1]
        assert last.startswith(f"train {stage.label} failed: rank 1 was killed by SIGKILL on n7")


@pytest.mark.parametrize("kind", KINDS)
def test_every_log_with_the_one_that_was_written_last_at_the_end(
    kind: str, show: Show, plan: Plan, store: Store
) -> None:
    """Whatever kind of job wrote it; one that is empty hides no other."""
    for each in KINDS:
        os.utime(log(store, plan, f"{each}-0", f"{each}\n"), (1, 1))
    os.utime(store.folder(plan.stages[0]) / "logs" / f"{kind}-0.log", (2, 2))
    lines = show()[1].splitlines()
    assert sorted(lines) == sorted(KINDS)
    assert lines[-1] == kind
    assert show("--lines", "9")[1] == f"{kind}\n"
    log(store, plan, f"{kind}-0", "")
    assert kind not in show()[1].splitlines()
    assert show("--kind", kind)[0] == 1


def test_a_log_without_a_word_says_why(show: Show, plan: Plan, store: Store) -> None:
    log(store, plan, text="")
    write_json(store.folder(plan.stages[0]) / "failure.json", {"reason": "/data cannot be written: No space left"})
    assert "it failed: /data cannot be written: No space left" in show()[2]
    finish(store, plan.stages[0])
    (store.folder(plan.stages[0]) / "failure.json").unlink()
    assert "it is done, and wrote nothing" in show()[2]


def test_of_finished_work_the_first_rank_s_log_is_left(show: Show, plan: Plan, store: Store) -> None:
    log(store, plan, text="step 1\n")
    assert "this rank wrote nothing; leave --rank out" in show("--rank", "1")[2]
    for processes, rank, why in (
        (2, 1, "the log of its first process alone is kept; leave --rank out"),
        (2, 2, "its ranks were 0 to 1"),
        (1, 1, "its one process was rank 0"),
    ):
        finish(store, plan.stages[0], execution={"processes": processes})
        status, out, err = show("--rank", str(rank))
        assert (status, out) == (1, "")
        assert f"no log of train {plan.stages[0].label} ({plan.stages[0].id}), rank {rank}: " in err
        assert why in err
    assert show("--kind", "judge")[2].endswith("no such job wrote anything; there are logs of train\n")
    write_json(store.folder(plan.stages[0]) / "judge" / "failure.json", {"reason": "no key"})
    assert show("--kind", "judge")[2].endswith("it failed: no key\n")


SCRIPT = """
import json, sys
from sft_sweeps.commands import main
status = main.main(["logs", *sys.argv[1:]])
heavy = ("omegaconf", "hydra", "torch", "transformers", "numpy", "scipy", "pydantic", "submitit", "wandb", "httpx")
print(json.dumps([status, [name for name in heavy if name in sys.modules]]))
"""


def test_reading_a_log_loads_nothing_heavy(plan: Plan, store: Store) -> None:
    log(store, plan, text="step 1\n")
    command = [sys.executable, "-c", SCRIPT, plan.stages[0].id, "--output-dir", str(store.root)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.stdout.splitlines() == ["step 1", "[0, []]"], done.stderr


def test_slurm_s_log_before_there_is_another(show: Show, plan: Plan, store: Store, sweep: Sweep) -> None:
    kept(sweep, "5_0_0_log.out", "loading modules\n")
    kept(sweep, "5_0_0_log.err", "srun: error: no such file\n")
    assert show()[1] == "loading modules\nsrun: error: no such file\n"
    path = log(store, plan, text="step 1\n")
    os.utime(path, (time.time() + 9,) * 2)
    assert show()[1] == "step 1\n"
    end = kept(sweep, "5_0_0_log.err", "slurmstepd: error: oom_kill\n")
    os.utime(end, (time.time() + 99,) * 2)
    assert show()[1] == "step 1\nslurmstepd: error: oom_kill\n"


def test_why_there_is_none(show: Show, plan: Plan, store: Store, slurm: Pretended) -> None:
    slurm.write(row("5_0", "call", reason="Priority"))
    assert show() == (
        1,
        "",
        f"error no log of train mini--code ({plan.stages[0].id}), rank 0: its job 5_0 is pending: others come first "
        "(Priority)\n",
    )
    slurm.write()
    assert "its job 5_0 is not in the queue any more and wrote nothing" in show("--follow")[2]
    assert "it was never started; launch its sweep again" in show(stage=plan.stages[1].id)[2]
    write_json(store.folder(plan.stages[1]) / "failure.json", {"reason": "its parent is not finished"})
    assert "it failed: its parent is not finished" in show(stage=plan.stages[1].id)[2]
    (slurm.folder / "controller").unlink()
    assert "Slurm does not answer about its job 5_0" in show()[2]


def test_names(show: Show, plan: Plan, store: Store) -> None:
    finish(store, plan.stages[0])
    for stage in plan.stages:
        assert find(store.root, stage.id[:9]).id == stage.id
        assert find(store.root, stage.label).folder == Store(store.root).folder(stage)
    assert find(store.root, "general").id == plan.stages[2].id
    status, out, err = show(stage="mini--code--")
    assert (status, out) == (2, "")
    assert err.startswith("error 'mini--code--' means 2 stages; give the beginning of an id:\n")
    assert all(f"\n    {stage.id}  {stage.label}\n" in err for stage in plan.stages[1:])
    status, out, err = show(stage="absent")
    assert (status, out) == (2, "")
    assert "no stage 'absent'" in err
    assert plan.stages[2].label in err
    assert show("--lines", "-1")[0] == 2
    with pytest.raises(RequestError, match="no stage in"):
        find(store.root / "nowhere", "x")


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Waits, in the thread of a job, until all that was written so far has been looked at."""
    looks = threading.Semaphore(0)
    print_news = logs.Printer.print_news

    def counted(printer: logs.Printer) -> None:
        print_news(printer)
        looks.release()

    def wait() -> None:
        while looks.acquire(blocking=False):
            pass
        for _ in range(2):  # the first may have begun before
            assert looks.acquire(timeout=20)

    monkeypatch.setattr(logs.Printer, "print_news", counted)
    return wait


def test_following(show: Show, plan: Plan, sweep: Sweep, slurm: Pretended, polls: Callable[[], None]) -> None:
    """From the queue through Slurm's log to the worker's, which is truncated and then rotated, to the job's end."""
    store = Store(sweep.folder.parents[1])
    slurm.write(row("5_0", "call", reason="Resources"))

    def job() -> None:
        polls()
        slurm.write(row("5_0", "call", "RUNNING"))
        kept(sweep, "5_0_0_log.out", "starting\n")
        polls()
        path = log(store, plan, text="one\nhalf a li")
        polls()
        with path.open("a") as file:
            file.write("ne\n")
        polls()
        path.write_text("two\n")
        polls()
        path.rename(path.with_suffix(".old"))
        path.write_text("three\n")
        polls()
        with path.open("a") as file:
            file.write("the end\n")
        slurm.write()

    thread = threading.Thread(target=job)
    thread.start()
    status, out, err = show("--follow")
    thread.join()
    assert (status, out) == (0, "starting\none\nhalf a line\ntwo\nthree\nthe end\n")
    assert "pending: until nodes are free (Resources)" in err
    assert err.count("==>") == 2


def test_following_what_has_ended_ends(show: Show, plan: Plan, store: Store) -> None:
    log(store, plan, text="one\ntwo\n")
    assert show("--follow", "--lines", "1")[:2] == (0, "two\n")


def test_ctrl_c_leaves_quietly(plan: Plan, store: Store, sweep: Sweep, slurm: Pretended) -> None:
    assert sweep.folder.is_dir()
    slurm.write(row("5_0", "call", "RUNNING"))
    log(store, plan, text="one\n")
    command = [
        sys.executable,
        "-m",
        "sft_sweeps.commands.main",
        "logs",
        "code",
        "--follow",
        "--output-dir",
        str(store.root),
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command[4] = plan.stages[0].id
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "one\n"
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err
