"""A job inside Slurm: every task of it runs this, one task for each process of the stage.

Before the work, the first task checks that the frozen job is the one that was submitted, that the folder is claimed for
it, and that earlier attempts made progress. Afterwards it releases the claim.

Stopped by the warning before the time limit or by a preemption (USR2), a job saves and puts itself back into the queue
under its own number, any number of times. Where compute nodes have no `scontrol` (a container, say), it leaves a mark
and the batch script, which runs outside, requeues. On TERM it saves and waits to be ended: Slurm decides whether it is
started again, and a cancelled job stays cancelled.

Slurm may start a job again while an earlier start of it lives on unseen. The later one takes the claim; the earlier one
finds that out before it publishes anything (files/fence.py), and within a heartbeat, and ends.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sft_sweeps.errors import Interrupted, RunError, Superseded, SweepError
from sft_sweeps.files import fence
from sft_sweeps.jobs import attempts
from sft_sweeps.jobs.job import Job, claim_folder, places
from sft_sweeps.jobs.retention import free_after
from sft_sweeps.slurm.queue import requeue_this_job
from sft_sweeps.store import claims, failures
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.clearing import clear_prepared, clear_unrecorded
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.store.store import check_identity
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.worker import process, shown
from sft_sweeps.worker.process import Rank, Stop

MARKS = "SFT_SWEEPS_MARKS"  # names the folder for marks of jobs that could not requeue themselves
RENDEZVOUS = ".rendezvous-"  # begins the name of the file through which the ranks of one start find each other
PATIENCE_SECONDS = 120.0  # for another job that still holds the folder, and for the own end after a requeue


def run(content: bytes, digest: str, path: Path) -> None:
    """One task of the job that was frozen in the file at `path`; leaves with the worker's exit status."""
    stop = Stop()
    stop.listen()
    changed = hashlib.sha256(content).hexdigest() != digest
    try:
        job = process.read(content)
    except ValueError:
        if not changed:
            raise
        print(_changed(path))
        process.leave(RunError.exit_status)
    folder = job.folder
    rank = _rank(folder)
    process.join(job, rank)
    print(
        f"Slurm job {number()}, start {restarts() + 1}, task {rank.rank} of {rank.processes} on {_node()}", flush=True
    )
    try:
        status = _work(job, rank, stop, path, changed=changed)
        process.drop_log(job, rank, status)
        process.leave(status)
    except Superseded as error:
        print(error)
        process.leave(error.exit_status)


def _changed(path: Path) -> str:
    return f"{path} was changed after the job was submitted; launch again"


def _work(job: Job, rank: Rank, stop: Stop, path: Path, *, changed: bool) -> int:
    """The exit status. Superseded where a later start of the job has taken it over: then nothing more is written."""
    folder = job.folder
    try:
        if changed:
            raise RunError(_changed(path))
        status = _first(job, folder, rank, stop) if rank.rank == 0 else _other(job, rank, stop)
        if rank.rank == 0 and status == 0:
            for text in free_after(job, Sweep(path.parents[1]), job.store):
                print(text, flush=True)
            shown.after(job, Sweep(path.parents[1]))
    except Superseded:
        raise
    except SweepError as error:
        print(error)
        failures.write(claim_folder(job, folder), job.id, str(error))
        status = error.exit_status
    return status


def _other(job: Job, rank: Rank, stop: Stop) -> int:
    """Any task but the first: it works, unless the work is done, and ends with the first one."""
    if _finished(job):
        return 0
    _hold(partial(_latest, claim_folder(job, job.folder)), "", threading.Event())
    status = process.run(job, rank, stop)
    fence.check()
    if status == Interrupted.exit_status and not stop():  # of its own accord: it ran out of memory, the others wait
        _come_back(stop)
    elif status == Interrupted.exit_status:
        time.sleep(PATIENCE_SECONDS)
    return status


def _first(job: Job, folder: Path, rank: Rank, stop: Stop) -> int:
    """The first task: before the work it sees to claim, identity and attempts, afterwards to requeue and clean-up."""
    if _finished(job):
        print("done already")
        return 0
    claimed = claim_folder(job, folder)
    claimed.mkdir(parents=True, exist_ok=True)
    claim, leaving = _claim(claimed), threading.Event()
    _hold(partial(claims.heartbeat, claimed, claim), f"{claim.number:04d}", leaving)
    for place in places(job):
        clear_prepared(place, keep=Path(rank.rendezvous).name)
    failures.begin(claimed)
    status = 0 if _finished(job) else _attempt(job, folder, rank, stop)
    if status == Interrupted.exit_status:
        _come_back(stop)
    else:
        leaving.set()
        failures.end(claimed)
        fence.drop()
        claims.release(claimed, claim)
    return status


def _attempt(job: Job, folder: Path, rank: Rank, stop: Stop) -> int:
    """The work, under a claim; the exit status. Superseded where a later start has taken it over meanwhile."""
    if job.makes_model:
        check_identity(folder, job.subject.payload)
        clear_unrecorded(folder)
        attempts.begin(folder, number(), resume_step(folder), job.gpus)
    status = process.run(job, rank, stop)
    fence.check()
    if job.makes_model:
        attempts.end(folder, {0: "done", Interrupted.exit_status: "stopped"}.get(status, "failed"))
    if rank.rendezvous:
        Path(rank.rendezvous).unlink(missing_ok=True)
    return status


def _finished(job: Job) -> bool:
    """Whether a stage or base model was finished by an earlier attempt, or by somebody else."""
    return job.makes_model and job.store.record(job.subject) is not None


def _claim(folder: Path) -> Claim:
    """The claim that was made when this job was submitted, or a new one where that was given up meanwhile.

    An earlier start of this job may live on, on a node that Slurm takes for dead: its claim is superseded. Where a
    later start has come, this is the one that lives on: Superseded.
    """
    call, index = _call()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        claim = claims.of_call(folder, call, index)
        if claim and claim.start > restarts():
            raise Superseded(f"start {claim.start + 1} of this job works in {folder} already; this one ends")
        if claim and claim.start < restarts():
            claim = claims.renew(folder, claim, restarts())
        elif not claim:
            claim = claims.take(folder, call.rpartition(".")[0], call, index, start=restarts())
        if claim:
            return claims.confirm(folder, claim, number())
        if time.monotonic() > deadline:
            holder = claims.holder(folder)
            who = holder.who if holder else "another job"
            raise RunError(f"{folder} is worked on by {who}; launch again afterwards")
        time.sleep(5.0)


def _call() -> tuple[str, int]:
    """The name of the `sbatch` call that submitted this job, and its index in it (-1: no array)."""
    return os.environ.get("SLURM_JOB_NAME", ""), int(os.environ.get("SLURM_ARRAY_TASK_ID", "-1"))


def _latest(folder: Path) -> bool:
    """Whether no later start of this job has claimed the folder."""
    claim = claims.of_call(folder, *_call())
    return claim is None or claim.start <= restarts()


def _hold(still_ours: Callable[[], bool], token: str, leaving: threading.Event) -> None:
    """Publish only while the folder is this start's; end this process when it is not."""
    fence.hold(still_ours, token)
    threading.Thread(target=_watch, args=(still_ours, leaving), daemon=True).start()


def _watch(still_ours: Callable[[], bool], leaving: threading.Event) -> None:
    while still_ours():
        if leaving.wait(claims.HEARTBEAT_SECONDS):
            return
    if not leaving.is_set():
        print("another start or job has taken the folder over; this one ends", flush=True)
        os._exit(Superseded.exit_status)


def _come_back(stop: Stop) -> None:
    """Into the queue again, unless the job is being ended: then whoever ends it decides."""
    time.sleep(1.0)  # a TERM that is on its way to every task may not have reached this one
    if not stop.ending and not requeue_this_job():
        marks = os.environ.get(MARKS)
        if marks:
            Path(marks).mkdir(parents=True, exist_ok=True)
            (Path(marks) / os.environ["SLURM_JOB_ID"]).touch()
        print("scontrol is not here or refuses; the batch script is asked to requeue", flush=True)
        return
    print("waiting for the end of this job", flush=True)
    time.sleep(PATIENCE_SECONDS)


def _rank(folder: Path) -> Rank:
    """This task's rank, from Slurm's environment; every start of a job has a rendezvous file of its own."""
    rank, local_rank = int(os.environ.get("SLURM_PROCID", "0")), int(os.environ.get("SLURM_LOCALID", "0"))
    processes = int(os.environ.get("SLURM_NTASKS", "1"))
    start = f"{os.environ['SLURM_JOB_ID']}-{restarts()}"
    return Rank(rank, processes, local_rank, f"{folder.absolute()}/{RENDEZVOUS}{start}" if processes > 1 else "")


def number() -> str:
    """This job as `squeue` names it: "123", or "123_4" for an element of an array."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]


def restarts() -> int:
    """How often this job was requeued."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _node() -> str:
    return os.environ.get("SLURMD_NODENAME", os.uname().nodename)
