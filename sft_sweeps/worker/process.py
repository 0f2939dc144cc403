"""One process of one job: log, signals, work, record, exit status.

    python -m sft_sweeps.worker.process JOB.json        RANK, LOCAL_RANK and WORLD_SIZE as a launcher sets them

Exit status: 0 done, 1 failed (failure.json says why), 75 stopped on a signal with its resume state saved. TERM and
USR2 only set a flag, which the training loop reads at step boundaries; so does the death of the launcher, so that no
orphan trains on. A worker whose launcher is dead and that does not reach a step boundary in time ends by itself.
"""

import contextlib
import io
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any, NoReturn

from sft_sweeps.errors import Interrupted, Superseded, SweepError
from sft_sweeps.files import fence, full_disk
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.identity import revive
from sft_sweeps.jobs.job import Job, claim_folder
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.store import claims, failures, sharing
from sft_sweeps.store.claims import Claim
from sft_sweeps.terminal import duration

log = logging.getLogger(__name__)

# What gloo, NCCL and torch's store say when a peer is gone.
LOST_PEER = re.compile(r"gloo|NCCL|TCPStore|Connection (closed|reset)|Broken pipe|remote process", re.IGNORECASE)
ORPHAN_GRACE_SECONDS = 30.0


@dataclass(frozen=True)
class Rank:
    """Which of a job's processes this one is.

    `rendezvous` is the file through which they find each other (empty: by MASTER_ADDR and MASTER_PORT).
    """

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    rendezvous: str = ""


class Stop:
    """A flag that signals set; `ending` says that the process will be ended whatever it does."""

    def __init__(self) -> None:
        self.asked = self.ending = False

    def __call__(self) -> bool:
        return self.asked

    def listen(self) -> None:
        """TERM and USR2 ask to stop; an interrupt from the terminal is the launcher's to handle."""
        signal.signal(signal.SIGTERM, self._set)
        signal.signal(signal.SIGUSR2, self._set)
        signal.signal(signal.SIGCONT, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._watch_launcher, daemon=True).start()

    def _set(self, number: int, _: Any) -> None:
        self.asked = True
        self.ending |= number == signal.SIGTERM

    def _watch_launcher(self) -> None:
        launcher = parent_process()
        if launcher is None:
            return
        connection.wait([launcher.sentinel])
        self.asked = True
        time.sleep(ORPHAN_GRACE_SECONDS)
        os._exit(Interrupted.exit_status)


def main(content: bytes, rank: int = 0, processes: int = 1, rendezvous: str = "", claim: Claim | None = None) -> None:
    """Entry of a worker process of this machine, with its job frozen as JSON; leaves with its exit status.

    Under a claim it publishes only while that is the last one (files/fence.py).
    """
    stop = Stop()
    stop.listen()
    job = read(content)
    this = Rank(rank, processes, rank, rendezvous)
    join(job, this)
    if claim:
        fence.hold(partial(claims.heartbeat, claim_folder(job, job.folder), claim), f"{claim.number:04d}")
    try:
        status = run(job, this, stop)
    except Superseded as error:
        print(error, flush=True)
        leave(error.exit_status)
    drop_log(job, this, status)
    sys.exit(status)


def read(content: bytes) -> Job:
    """The job that was frozen as JSON; ValueError where it is none."""
    job = revive(Job, parse_line(content, strict=True))
    try:
        str(job.id)
    except TypeError as error:  # a text of a thousand digits, for one, is read as an infinite number
        raise ValueError(f"it has no identity: {error}") from error
    return job


def join(job: Job, rank: Rank) -> None:
    """Make this process a rank of a job: its output goes to the rank's log, its environment names the rank.

    Where the store cannot be written, be it for a moment, there is no log to say it in; the process ends.
    """
    sharing.join(Path(job.root))
    try:
        _redirect(KINDS[job.kind].log(job.folder, rank.rank))
    except OSError as error:
        print(f"{job.id}, rank {rank.rank}: {error}", file=sys.stderr, flush=True)
        leave(1)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("sft_sweeps").setLevel(logging.INFO)
    os.environ.update(RANK=str(rank.rank), LOCAL_RANK=str(rank.local_rank), WORLD_SIZE=str(rank.processes))


def drop_log(job: Job, rank: Rank, status: int) -> None:
    """Of work that is done the first rank's log is kept: the others' say when they began and ended, and no more."""
    if rank.rank and not status:
        KINDS[job.kind].log(job.folder, rank.rank).unlink(missing_ok=True)


def run(job: Job, rank: Rank, stop: Stop) -> int:
    """Do the work; the exit status. Whatever goes wrong is written to failure.json and printed."""
    try:
        from sft_sweeps.worker import dispatch  # its imports take a moment: signals are listened to first

        begun = time.monotonic()
        log.info("%s %s (%s) begins", job.kind, job.subject.label, job.subject.id)
        dispatch.do(job, stop, rank.rendezvous)
        log.info("%s %s (%s) is done in %s", job.kind, job.subject.label, job.subject.id, _since(begun))
    except Interrupted as error:
        print(error)
        return error.exit_status
    except Superseded:
        raise
    except Exception as error:
        text = str(error) if isinstance(error, SweepError) else _in_words(error, job, rank)
        failures.write(claim_folder(job, job.folder), job.id, text)
        traceback.print_exc()
        if text not in str(error):
            print(text, flush=True)  # below what a library says of it: whoever reads a log begins at its end
        return SweepError.exit_status
    return 0


def _in_words(error: Exception, job: Job, rank: Rank) -> str:
    """What went wrong. That a collective operation broke off is no reason: a peer's end is, told elsewhere."""
    if rank.processes > 1 and isinstance(error, RuntimeError) and LOST_PEER.search(str(error)):
        return f"{failures.PEERS}, and rank {rank.rank} with it"
    return full_disk.in_words(error, job.folder)


def _since(begun: float) -> str:
    return duration(time.monotonic() - begun)


def leave(status: int) -> NoReturn:
    """End this process at once: gloo's threads may abort one that shuts its interpreter down, when all is done."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class LogStream(io.TextIOWrapper):
    """Text to a log as it is printed. Where the disk is full it is dropped: what a job does must not depend on it."""

    def __init__(self, handle: int) -> None:
        raw = io.FileIO(handle, "w", closefd=False)
        super().__init__(raw, encoding="utf-8", errors="backslashreplace", write_through=True)

    def write(self, text: str) -> int:
        """As it is; dropped where it cannot be written."""
        with contextlib.suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""
        with contextlib.suppress(OSError):
            super().flush()


def _redirect(log: Path) -> None:
    """Everything that this process or its libraries print goes to its log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    sys.stdout, sys.stderr = LogStream(1), LogStream(2)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).read_bytes(), int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
    except SystemExit as leaving:
        leave(int(leaving.code or 0))
