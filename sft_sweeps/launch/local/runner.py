"""Runs jobs on this machine, in dependency order, as many as the cores carry.

Worker processes are forked from a server that has imported the heavy libraries once. At the first death of one of a
job's processes its siblings are ended; a failed job's descendants are not started, all others run. A stage that
another launch is training is waited for, and so is one that another launch takes over, to which this one seemed dead.
Workers watch this process and stop when it dies.
"""

import json
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
from sft_sweeps.files import full_disk, private
from sft_sweeps.identity import plain
from sft_sweeps.jobs.job import Job, claim_folder, places, urgency
from sft_sweeps.jobs.retention import free_after
from sft_sweeps.launch.gpus import gpus_here
from sft_sweeps.launch.local.cores import Capacity
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.store import claims, failures
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.heartbeats import Heartbeats
from sft_sweeps.store.paths import worker_log
from sft_sweeps.store.store import Store, check_identity, clear_prepared, clear_unrecorded
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import how_ended
from sft_sweeps.worker.process import main

GRACE_SECONDS = 30.0  # between asking a process to stop and ending it
SIBLING_GRACE_SECONDS = 5.0  # the same for a rank that has lost another one: it cannot save alone
RENDEZVOUS = ".rendezvous-"
POLL_SECONDS = 0.05


@dataclass
class Running:
    """A job with its processes and the claim on its folder."""

    job: Job
    folder: Path  # of the job's subject
    claimed: Path  # the folder of the claim, and of failure.json
    claim: Claim
    processes: list[Any]
    started: float = field(default_factory=time.monotonic)

    def exit_codes(self) -> list[int | None]:
        """None for a process that runs; negative for a signal."""
        return [process.exitcode for process in self.processes]


class JobRunner:
    """Runs jobs until none is left that can run."""

    def __init__(self, jobs: Sequence[Job], store: Store, sweep: Sweep, capacity: Capacity, progress: Progress) -> None:
        self.store, self.sweep, self.capacity, self.progress = store, sweep, capacity, progress
        self.waiting = {job.id: job for job in jobs}
        self.urgency = urgency(list(jobs))
        self.running: dict[str, Running] = {}
        self.failures: dict[str, str] = {}  # reasons by job id
        self.announced: set[str] = set()  # jobs that another launch works on, said once
        progress.say("loading torch and DeepSpeed, once for all jobs ...")
        self.context = fork_server()
        self.heartbeats = Heartbeats()

    def run(self) -> dict[str, str]:
        """Why each failed job failed, by job id; Interrupted when a signal stopped the launch."""
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            while self.waiting or self.running:
                self._collect()
                self._give_way()
                self._start()
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self.progress.say("stopping: workers save their resume states ...")
            raise Interrupted("interrupted; resume states are saved, the same command continues") from None
        finally:
            impatient = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers end within the grace, whoever presses
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._stop_all()
            self.heartbeats.end()
            signal.signal(signal.SIGINT, impatient)
            signal.signal(signal.SIGTERM, previous)
        return self.failures

    def _start(self) -> None:
        """Fill the free slots, the jobs on the longest remaining chains first."""
        for job in sorted(self._ready(), key=lambda job: -self.urgency[job.id]):
            if not self._fits(job):
                return
            try:
                self._start_job(job)
            except RequestError as error:
                self._give_up(job, str(error))
            except OSError as error:
                self._give_up(job, full_disk.in_words(error, self.store.folder(job.subject)))

    def _fits(self, job: Job) -> bool:
        """Whether there are cores for it, and GPUs: they are not shared between jobs."""
        running = [running.job for running in self.running.values()]
        if job.gpus and any(other.gpus for other in running):
            return False
        return self.capacity.fits(job, running)

    def _ready(self) -> Iterator[Job]:
        """The waiting jobs whose parents are done; those of which one failed are given up."""
        for job in list(self.waiting.values()):
            if failed := [parent for parent in job.needs if parent in self.failures]:
                self._give_up(job, f"not started: its parent {failed[0]} failed")
            elif not any(parent in self.waiting or parent in self.running for parent in job.needs):
                yield job

    def _start_job(self, job: Job) -> None:
        """Claim the job's folder and start its processes; nothing where another launch holds it, or has done it."""
        folder = self.store.folder(job.subject)
        claimed = claim_folder(job, folder)
        claimed.mkdir(parents=True, exist_ok=True)
        if job.makes_model:
            check_identity(folder, job.subject.payload)
        claim = claims.take(claimed, self.sweep.name)
        if claim is None:  # another launch works on it: look again later
            self._announce_wait(job, claimed)
            return
        if job.makes_model and self.store.record(job.subject):  # it was done in the meantime
            claims.release(claimed, claim)
            self._done(job, 0.0)
            return
        self.heartbeats.hold(claimed, claim)
        self._start_claimed(Running(job, folder, claimed, claim, []))

    def _start_claimed(self, running: Running) -> None:
        """Start the processes; where that fails, whatever was started is ended and the claim given back."""
        try:
            self._start_processes(running)
        except BaseException:
            _end(running.processes, SIBLING_GRACE_SECONDS)
            self._give_back(running)
            raise
        self.running[running.job.id] = running
        del self.waiting[running.job.id]
        self.progress.started(running.job)

    def _announce_wait(self, job: Job, claimed: Path) -> None:
        """Say once whose work is waited for."""
        claim = claims.holder(claimed)
        if claim and job.id not in self.announced:
            self.announced.add(job.id)
            self.progress.say(f"waiting for {job.kind} {job.subject.label}: {claim.who}, sweep {claim.sweep}")

    def _start_processes(self, running: Running) -> None:
        """Start the ranks of a job. They meet through a file: a TCP port chosen at random may be taken."""
        job, folder = running.job, running.folder
        for place in places(job):
            clear_prepared(place)
        failures.begin(running.claimed)
        if job.makes_model:
            clear_unrecorded(folder)
        content = json.dumps(plain(job)).encode()
        if job.encodings:  # `status` tells of it, which is in no plan
            private.write(private.folder(self.sweep.folder, "jobs") / f"{job.id}.json", content)
        rendezvous = f"{folder.absolute()}/{RENDEZVOUS}{uuid.uuid4().hex[:8]}" if job.processes > 1 else ""
        for rank in range(job.processes):
            arguments = (content, rank, job.processes, rendezvous, running.claim)
            running.processes.append(self.context.Process(target=main, args=arguments, name=f"{job.id}-{rank}"))
            running.processes[-1].start()
        pids = [process.pid for process in running.processes]
        running.claim = claims.confirm(running.claimed, running.claim, job.id, pids)
        self.heartbeats.hold(running.claimed, running.claim)

    def _collect(self) -> None:
        """Look after the running jobs: some have ended; one dead process ends its siblings."""
        for running in list(self.running.values()):
            codes = running.exit_codes()
            if any(code not in (None, 0) for code in codes):
                _end(running.processes, SIBLING_GRACE_SECONDS)
                if claims.heartbeat(running.claimed, running.claim):
                    self._failed(running, codes)
                else:
                    self._superseded(running)
            elif all(code == 0 for code in codes):
                self._release(running)
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
        reason = _reason(running, codes)
        if reason:
            failures.write(running.claimed, job.id, reason, again=True)
        why, log = failures.reason_of(running.claimed) or reason, worker_log(running.folder, job.kind)
        self._release(running)
        self._give_up(job, f"{why} (log: {log})" if log.is_file() and log.stat().st_size else why)

    def _superseded(self, running: Running) -> None:
        """Another launch has the folder, and all that lies there is its; its end is waited for."""
        _end(running.processes, 0.0)
        self.heartbeats.drop(running.claimed)
        del self.running[running.job.id]
        self.waiting[running.job.id] = running.job
        self.announced.discard(running.job.id)
        self.progress.say(f"another launch has taken over {running.job.kind} {running.job.subject.label}")

    def _give_up(self, job: Job, reason: str) -> None:
        self.waiting.pop(job.id, None)
        self.failures[job.id] = reason
        self.progress.failed(job, reason)

    def _release(self, running: Running) -> None:
        """Give back the folder of a job whose processes have ended."""
        self._give_back(running)
        del self.running[running.job.id]

    def _give_back(self, running: Running) -> None:
        """The claim, and what was beside it for this launch; another's, who has superseded it, stays."""
        self.heartbeats.drop(running.claimed)
        if claims.heartbeat(running.claimed, running.claim):
            for rendezvous in running.folder.glob(f"{RENDEZVOUS}*"):
                rendezvous.unlink(missing_ok=True)
            failures.end(running.claimed)
        claims.release(running.claimed, running.claim)

    def _give_way(self) -> None:
        """To other launches that have superseded claims of this one."""
        for running in list(self.running.values()):
            if self.heartbeats.lost(running.claimed):
                self._superseded(running)

    def _stop_all(self) -> None:
        """However the launch ends: ask every worker to save and stop, and wait for it."""
        _end([process for running in self.running.values() for process in running.processes], GRACE_SECONDS)
        for running in list(self.running.values()):
            self._release(running)


def _reason(running: Running, codes: Sequence[int | None]) -> str:
    """How the first dead process ended, where it could not say so itself in failure.json; else empty."""
    for rank, code in enumerate(codes):
        if code and (code < 0 or not failures.reason_of(running.claimed)):
            if code == Interrupted.exit_status:
                how = "was stopped on a signal, its resume state is saved"
            else:
                how = how_ended(code)
            return f"rank {rank} of {running.job.processes} {how}"
    return ""


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
    # Threads that wait for one another without sleeping take the cores from whatever else runs: measured 3 to 10 times
    # slower on cores that are not idle.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
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
