"""A launch that another one takes over, each with its processes: the work is done once, and whoever lives ends well."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from outcomes import finish, launched

from sft_sweeps import worker
from sft_sweeps.config.schema import ClusterConfig
from sft_sweeps.errors import Interrupted
from sft_sweeps.execution import TrainExecution
from sft_sweeps.files import fence
from sft_sweeps.jobs.job import Job, Stop
from sft_sweeps.launch.local import launcher, runner
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store, write_record
from sft_sweeps.store.survey import resume_step
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import console
from sft_sweeps.tracking import metrics

FORK = multiprocessing.get_context("fork")  # of this process, which has imported everything
SILENT = 1.5  # seconds after which a claim of another host is dead
STEPS, HELD = 12, 7  # the step after which a worker waits until it may go on
LABEL = "mini--code"


def work(go: Path, job: Job, stop: Stop, rendezvous: str) -> None:  # noqa: ARG001
    """In the place of training: a line a step, a state every two, the record last; each says on which host."""
    folder, lines, host = job.folder, metrics.Metrics(job.folder), socket.gethostname()
    for step in range(resume_step(folder) + 1, STEPS + 1):
        lines.write({"step": step, "host": host, "loss": 1.0, "seconds": 0.01})
        while step == HELD and not go.exists() and not stop():
            time.sleep(0.01)
        if stop():
            raise Interrupted("stopped")
        if step % 2 == 0:
            with fence.new_folder(folder / "resume" / f"step-{step:08d}"):
                pass
    lines.close()
    with fence.new_folder(folder / "model") as writing:
        (writing / "host").write_text(host)
    write_record(folder, job.subject.payload, ["model/host", "metrics.jsonl"], {"host": host})


class Launches:
    """Launches of one sweep of a stage, on hosts of which each sees the same store."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "store")
        self.plan, self.sweep = launched(self.store, "mine", "code")
        (self.stage,) = self.plan.stages
        finish(self.store, self.stage.parent)
        self.go, self.folder = root / "go", self.store.folder(self.stage)
        self.processes: dict[str, BaseProcess] = {}

    def begin(self, host: str, *, slow: bool = False) -> BaseProcess:
        made = FORK.Process(target=self._launch, args=(host, slow))
        self.processes[host] = made
        made.start()
        return made

    def _launch(self, host: str, slow: bool) -> None:
        with self.log(host).open("w") as log:
            os.dup2(log.fileno(), 1)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        socket.gethostname = lambda: host.partition(" ")[0]
        if slow:
            self._load_slowly()
        job = Job("train", str(self.store.root), self.stage, TrainExecution(threads=1))
        cluster = ClusterConfig(threads=1)
        config = SimpleNamespace(cluster=cluster)
        given: Any = SimpleNamespace(config=config, jobs=[job], plan=self.plan, store=self.store)
        status = launcher.LocalLauncher().launch(given, Sweep(self.sweep.folder), console())
        sys.stdout.flush()
        os._exit(status)

    def _load_slowly(self) -> None:
        """Processes start late, as where their libraries lie on a slow disk."""
        start = runner.JobRunner._start_processes

        def late(of: runner.JobRunner, running: runner.Running) -> None:
            time.sleep(2 * SILENT)
            start(of, running)

        runner.JobRunner._start_processes = late  # type: ignore[method-assign]

    def log(self, host: str) -> Path:
        return self.store.root / f"{host}.log"

    def said(self, host: str) -> str:
        return self.log(host).read_text() if self.log(host).exists() else ""

    def until(self, happens: Callable[[], object]) -> None:
        end = time.monotonic() + 30
        while not happens():
            assert time.monotonic() < end, {host: self.said(host) for host in self.processes}
            time.sleep(0.01)

    def until_step(self, step: int, host: str) -> None:
        def reached() -> bool:
            last = metrics.last(self.folder)
            return last.get("host") == host and last["step"] >= step

        self.until(reached)

    def all_of(self, host: str) -> list[int]:
        """A launch and its workers."""
        pid = self.processes[host].pid
        return [int(pid or 0), *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def signal(self, number: signal.Signals, pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, number)

    def end(self) -> None:
        for host, process in self.processes.items():
            if process.exitcode is None:
                self.signal(signal.SIGKILL, self.all_of(host))
            process.join()


@pytest.fixture
def launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    made = Launches(tmp_path)
    monkeypatch.setattr(claims, "SILENT_SECONDS", SILENT)
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(worker, "dispatch", SimpleNamespace(do=partial(work, made.go)), raising=False)
    monkeypatch.setattr(runner, "fork_server", lambda: FORK)
    for shown in ("show_results", "show_at_tracker"):
        monkeypatch.setattr(launcher, shown, lambda *_: None)
    yield made
    made.end()


def assert_done_by(launches: Launches, hosts: list[str], *ended: BaseProcess) -> None:
    """The steps are there once, and who made them; those that ended say that all is well."""
    for process in ended:
        process.join(60)
    assert [process.exitcode for process in ended] == [0] * len(ended), [*map(launches.said, launches.processes)]
    rows = metrics.read(launches.folder)
    assert [(row["step"], row["host"]) for row in rows] == list(zip(range(1, STEPS + 1), hosts, strict=True))
    record = launches.store.record(launches.stage)
    assert record is not None
    assert record["host"] == (launches.folder / "model" / "host").read_text() == hosts[-1]
    assert claims.files(launches.folder) == []
    assert not (launches.folder / "failure.json").exists()
    assert not list(launches.folder.glob(".*"))


@pytest.mark.parametrize("alone", [True, False], ids=["its worker goes to its next step", "with its worker"])
def test_a_dead_launch_is_taken_over_once_its_workers_are_gone(alone: bool, launches: Launches) -> None:
    first = launches.begin("alpha")
    launches.until_step(HELD, "alpha")
    launches.signal(signal.SIGKILL, launches.all_of("alpha")[: 1 if alone else None])
    first.join()
    launches.go.touch()
    second = launches.begin("alpha again")
    assert_done_by(launches, ["alpha"] * STEPS, second)
    assert "taken over" not in launches.said("alpha again")


@pytest.mark.parametrize("late", [False, True], ids=["while the other works", "when the other is done"])
def test_one_that_stood_still_gives_way_when_it_goes_on(late: bool, launches: Launches) -> None:
    first = launches.begin("alpha")
    launches.until_step(HELD, "alpha")
    stopped = launches.all_of("alpha")
    launches.signal(signal.SIGSTOP, stopped)
    second = launches.begin("beta")
    launches.until_step(HELD, "beta")
    if late:
        launches.go.touch()
        second.join(60)
    launches.signal(signal.SIGCONT, stopped)
    launches.until(lambda: f"another launch has taken over train {LABEL}" in launches.said("alpha"))
    if not late:
        waiting = f"waiting for train {LABEL}: process {second.pid} of {claims.user()} on beta, sweep"
        launches.until(lambda: waiting in launches.said("alpha"))
        launches.go.touch()
    assert_done_by(launches, ["alpha"] * 6 + ["beta"] * (STEPS - 6), first, second)
    assert f"trained {LABEL}" in launches.said("alpha")
    assert "taken over" not in launches.said("beta")


def test_one_that_waits_for_its_processes_is_not_taken_over(launches: Launches) -> None:
    """However long their libraries take to load."""
    launches.go.touch()
    first = launches.begin("alpha", slow=True)
    launches.until(lambda: claims.files(launches.folder))
    second = launches.begin("beta")
    assert_done_by(launches, ["alpha"] * STEPS, first, second)
    assert f"waiting for train {LABEL}: process {first.pid} of {claims.user()} on alpha" in launches.said("beta")
    assert "taken over" not in launches.said("alpha")
