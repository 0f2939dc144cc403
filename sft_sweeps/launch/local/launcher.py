"""The local launcher: runs the missing jobs on this machine, in dependency order, as many as the cores carry.

Worker processes are forked from a server that has imported the heavy libraries once. At the first death of one of a
job's processes its siblings are ended; a failed job's descendants are not started, everything else goes on. A stage
that another launch is training is waited for. Workers watch this process and stop when it dies.
"""

import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from sft_sweeps.errors import Interrupted, RequestError
from sft_sweeps.files.json_files import write_json
from sft_sweeps.identity import plain
from sft_sweeps.jobs.job import Job, claim_folder, urgency
from sft_sweeps.jobs.retention import free_after
from sft_sweeps.launch.gpus import gpus_here
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.store import claims
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.paths import worker_log
from sft_sweeps.store.store import Store, check_identity, clear_unrecorded
from sft_sweeps.store.survey import failure_of
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.worker.process import fail, main

GRACE_SECONDS = 30.0  # between asking a process to stop and ending it
SIBLING_GRACE_SECONDS = 5.0  # the same for a rank that has lost another one: it cannot save alone
RENDEZVOUS = ".rendezvous-"
POLL_SECONDS = 0.05


@dataclass
class Running:
    """A job with its processes and the claim on its folder."""

    job: Job
    folder: Path  # of the job's subject
    place: Path  # of its claim, and of failure.json
    claim: Claim
    processes: list[Any]
    started: float = field(default_factory=time.monotonic)

    def codes(self) -> list[int | None]:
        """Exit codes so far; negative for a signal."""
        return [process.exitcode for process in self.processes]


class LocalLauncher:
    """Runs jobs until none is left that can run."""

    def __init__(self, jobs: Sequence[Job], store: Store, sweep: Sweep, slots: int, progress: Progress) -> None:
        self.store, self.sweep, self.slots, self.progress = store, sweep, slots, progress
        self.waiting = {job.id: job for job in jobs}
        self.urgency = urgency(list(jobs))
        self.running: dict[str, Running] = {}
        self.failed: dict[str, str] = {}
        self.awaited: set[str] = set()
        progress.say("loading torch and DeepSpeed, once for all jobs ...")
        self.context = fork_server()
        self.beaten = time.monotonic()

    def run(self) -> dict[str, str]:
        """Why each failed job failed, by job id; Interrupted when a signal stopped the launch."""
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            while self.waiting or self.running:
                self._collect()
                self._start()
                self._beat()
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self.progress.say("stopping: workers save their resume states ...")
            raise Interrupted("interrupted; resume states are saved, the same command continues") from None
        finally:
            impatient = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers end within the grace, whoever presses
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._stop_all()
            signal.signal(signal.SIGINT, impatient)
            signal.signal(signal.SIGTERM, previous)
        return self.failed

    def _start(self) -> None:
        """Fill the free slots with the jobs that have the longest way to go."""
        for job in sorted(self._ready(), key=lambda job: -self.urgency[job.id]):
            if not self._fits(job):
                return
            try:
                self._start_one(job)
            except (OSError, RequestError) as error:
                self._give_up(job, str(error))

    def _fits(self, job: Job) -> bool:
        """Whether there are cores for it, and GPUs: they are not shared between jobs."""
        used = sum(running.job.width for running in self.running.values())
        if job.gpus and any(running.job.gpus for running in self.running.values()):
            return False
        return not used or used + job.width <= self.slots

    def _ready(self) -> Iterator[Job]:
        for job in list(self.waiting.values()):
            if job.parent in self.failed:
                self._give_up(job, f"not started: its parent {job.parent} failed")
            elif job.parent not in self.waiting and job.parent not in self.running:
                yield job

    def _start_one(self, job: Job) -> None:
        folder = self.store.folder(job.subject)
        place = claim_folder(job, folder)
        place.mkdir(parents=True, exist_ok=True)
        if job.makes_model:
            check_identity(folder, job.subject.payload)
        claim = claims.take(place, self.sweep.name)
        if claim is None:  # another launch works on it: look again later
            self._wait_for(job, place)
            return
        if job.makes_model and self.store.record(job.subject):  # it was done in the meantime
            claims.release(place, claim)
            self._done(job, 0.0)
            return
        running = Running(job, folder, place, claim, [])
        try:
            self._launch(running)
        except BaseException:
            _end(running.processes, SIBLING_GRACE_SECONDS)
            claims.release(place, claim)
            raise
        self.running[job.id] = running
        del self.waiting[job.id]
        self.progress.started(job)

    def _wait_for(self, job: Job, place: Path) -> None:
        """Say once whose work is waited for."""
        holder = claims.holder(place)
        if holder and job.id not in self.awaited:
            self.awaited.add(job.id)
            self.progress.say(f"waiting for {job.kind} {job.subject.label}: {holder.who}, sweep {holder.sweep}")

    def _launch(self, running: Running) -> None:
        """Start the ranks of a job. They meet through a file: a TCP port chosen at random may be taken."""
        job, folder = running.job, running.folder
        (running.place / "failure.json").unlink(missing_ok=True)
        if job.makes_model:
            clear_unrecorded(folder)
        path = self.sweep.folder / "jobs" / f"{job.id}.json"
        write_json(path, plain(job), compact=True)
        meeting = f"{folder.absolute()}/{RENDEZVOUS}{uuid.uuid4().hex[:8]}" if job.processes > 1 else ""
        for rank in range(job.processes):
            arguments = (str(path), rank, job.processes, meeting)
            running.processes.append(self.context.Process(target=main, args=arguments, name=f"{job.id}-{rank}"))
            running.processes[-1].start()
        claims.confirm(running.place, running.claim, job.id, [process.pid for process in running.processes])

    def _collect(self) -> None:
        """Take leave of jobs that ended; one dead process ends its siblings."""
        for running in list(self.running.values()):
            codes = running.codes()
            if any(code not in (None, 0) for code in codes):
                _end(running.processes, SIBLING_GRACE_SECONDS)
                self._failed(running, codes)
            elif all(code == 0 for code in codes):
                self._leave(running)
                self._done(running.job, time.monotonic() - running.started)
            else:
                self.progress.update(running.job, running.folder)

    def _done(self, job: Job, seconds: float) -> None:
        self.waiting.pop(job.id, None)
        for text in free_after(job, self.sweep, self.store):
            self.progress.say(text)
        self.progress.finished(job, self.store.folder(job.subject), seconds)

    def _failed(self, running: Running, codes: Sequence[int | None]) -> None:
        """`codes` are those at the first death: what its siblings say afterwards is a consequence."""
        job = running.job
        reason = ""
        for rank, code in enumerate(codes):
            if code and (code < 0 or not failure_of(running.place)):
                how = f"was killed by signal {-code}" if code < 0 else f"left with status {code}"
                how = "was stopped on a signal, its resume state is saved" if code == Interrupted.exit_status else how
                reason = f"process {rank} of {job.processes} {how}"
                fail(running.place, job, reason, again=True)
                break
        log = worker_log(running.folder, job.kind)
        self._leave(running)
        self._give_up(job, f"{failure_of(running.place) or reason} (log: {log})")

    def _give_up(self, job: Job, reason: str) -> None:
        self.waiting.pop(job.id, None)
        self.failed[job.id] = reason
        self.progress.failed(job, reason)

    def _leave(self, running: Running) -> None:
        """A job's processes have ended."""
        for meeting in running.folder.glob(f"{RENDEZVOUS}*"):
            meeting.unlink(missing_ok=True)
        claims.release(running.place, running.claim)
        del self.running[running.job.id]

    def _beat(self) -> None:
        if time.monotonic() - self.beaten < claims.HEARTBEAT_SECONDS:
            return
        self.beaten = time.monotonic()
        for running in self.running.values():
            claims.heartbeat(running.place, running.claim)

    def _stop_all(self) -> None:
        """However the launch ends: ask every worker to save and stop, and wait for it."""
        _end([process for running in self.running.values() for process in running.processes], GRACE_SECONDS)
        for running in list(self.running.values()):
            self._leave(running)


def _end(processes: Sequence[Any], grace: float) -> None:
    """TERM, grace, KILL. A process whose start was interrupted has no id and nothing to end."""
    processes = [process for process in processes if process.pid is not None]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.exitcode is None:
            process.kill()
            process.join()


def fork_server() -> ForkServerContext:
    """A context whose processes start with the heavy libraries imported.

    Not where there are GPUs: importing DeepSpeed opens one, and a forked process could not use it any more.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported; a job sets its own count later
    if not gpus_here():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed looks for one, and says so
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__"] if gpus_here() else ["__main__", "sft_sweeps.worker.warm"])
    resource_tracker.ensure_running()  # before the mask: starting it unblocks SIGINT
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is this process's to handle, not the server's
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return context


def slots(jobs: int, processes: int, threads: int) -> int:
    """Processes at the same time: as configured, or what the cores carry, but at least one job's."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return jobs * processes if jobs else max(processes, cores // threads)
