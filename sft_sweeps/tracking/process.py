"""A mirror in a process of its own: it reads metrics.jsonl as it grows, and shows each line elsewhere.

Training writes its file and knows of no tracker. It starts the tracker's module as a process, closes its input at the
end, and waits a bounded time: no exception, delay or death of the tracker reaches it.

    python -m sft_sweeps.tracking.TRACKER        reads from its input a line that says what to show (an `Attempt`), and
                                                 at the end one that says how it ended (an `Ending`)
"""

import json
import logging
import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_sweeps import PACKAGE
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.identity import revive
from sft_sweeps.tracking import layout
from sft_sweeps.tracking import problems as noted
from sft_sweeps.tracking.base import Attempt, Ending

log = logging.getLogger(__name__)

LONGEST_END_SECONDS = 900.0  # that a mirror goes on alone
TOP = ("stages", "models", "sweeps")  # folders of a store
POLL_SECONDS = 0.5
ATTEMPTS = 3  # of a mirror whose tracker died
LONGEST_ENDING = 1 << 16  # bytes of what is said of the end


class Ended(threading.Event):
    """Set when no more lines will come; `ending` is then how it ended. Without a word of that, training was killed."""

    ending = Ending("interrupted")


Show = Callable[[Attempt, Ended], None]  # every line until `Ended` is set and none is left


class ProcessMirror:
    """A process that mirrors one attempt at a stage by running a module, with some more in its environment.

    One that cannot be started is reported, and that is all.
    """

    def __init__(self, attempt: Attempt, module: str, environment: Mapping[str, str]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.name, self.folder = attempt.tracking.name, attempt.folder
        told = {**asdict(attempt), "folder": str(attempt.folder.absolute())}
        try:
            self._start(module, environment)
            self._send(json.dumps(told) + "\n")
        except OSError as error:
            log.warning("no mirror at %s: %s", self.name, error)
            noted.note(self.folder, self.name, str(error))

    def _start(self, module: str, environment: Mapping[str, str]) -> None:
        path = log_file(self.folder, self.name)
        path.parent.mkdir(exist_ok=True)
        with path.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env=_environment(environment),
            )

    def close(self, seconds: float, ending: Ending) -> None:
        """No more lines will come; wait until all are shown, but no longer than `seconds`."""
        if self._process is None:
            return
        with suppress(OSError):
            self._send(json.dumps(asdict(ending)) + "\n")
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("the mirror at %s is not done after %.0f s and is killed", self.name, seconds)
            noted.note(self.folder, self.name, f"it was not done {seconds:.0f} s after the last step and was ended")
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, text: str) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()


def log_file(folder: Path, name: str) -> Path:
    """What the process of a tracker says, in the stage's folder."""
    return folder / "logs" / f"{name}.log"


def place(of: Path, name: str, variable: str) -> Path:
    """Where a tracker of this machine keeps its files: as the user's variable says, else beside a store's stages."""
    if named := os.environ.get(variable):
        return Path(named).absolute()
    inside = of.absolute()
    tops = (parent.parent for parent in (inside, *inside.parents) if parent.name in TOP)
    return next(tops, inside) / name


def run_name(attempt: Attempt) -> str:
    """What people read, with the id, where a tracker tells runs apart by their names alone."""
    return f"{layout.cut(attempt.label, layout.LONGEST_NAME - layout.LONGEST_ID)} {attempt.identity}"


def _environment(own: Mapping[str, str]) -> dict[str, str]:
    """Without the ranks' variables, which would make a tracker look for others."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), kept.get("PYTHONPATH", ""))))
    return {**kept, **own, "PYTHONPATH": path}


def run(show: Show, *, again: Callable[[Attempt], Attempt] = lambda attempt: attempt, secret: str = "") -> int:
    """Mirror until the input ends and every line is shown; whatever goes wrong stands in this process's log.

    A show that failed is tried again, as `again` changes what is told of it. `secret` is in no message.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Slurm signals every process of a job; the end of the input counts
    with open(0, "rb", buffering=0, closefd=False) as source:  # what follows the line is for an attempt to read
        told = revive(Attempt, json.loads(source.readline()))
    name, heard = told.tracking.name, mmap.mmap(-1, LONGEST_ENDING)
    for attempt in range(ATTEMPTS):
        print(f"attempt {attempt + 1} of {ATTEMPTS}", flush=True)
        child = os.fork()  # a process in which W&B's service died can start no other
        if child == 0:
            os._exit(_attempt(show, told, heard, secret))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return 0
        if not noted.problem_of(told.folder):
            noted.note(told.folder, name, f"its process ended with status {status}; see {log_file(Path(), name)}")
        told = again(told)
    return 1


def _attempt(show: Show, told: Attempt, heard: mmap.mmap, secret: str) -> int:
    ended = Ended()
    threading.Thread(target=_listen, args=(ended, heard), daemon=True).start()
    try:
        show(told, ended)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".replace(secret or "\0", "***")
        print(text, flush=True)
        noted.note(told.folder, told.tracking.name, text)
        return 1
    return 0


def _listen(ended: Ended, heard: mmap.mmap) -> None:
    """Until the input ends, which it also does when training dies. What is heard outlives this attempt."""
    heard.seek(len(heard[:].rstrip(b"\0")))
    while part := os.read(0, LONGEST_ENDING):
        heard.write(part[: len(heard) - heard.tell()])
    with suppress(ValueError):
        ended.ending = revive(Ending, json.loads(heard[:].rstrip(b"\0")))
    ended.set()
    time.sleep(LONGEST_END_SECONDS)
    os._exit(1)  # a server that takes nothing must not keep a process forever


def lines(path: Path, ended: threading.Event) -> Iterator[dict[str, Any]]:
    """Each step's line once, as it comes, until `ended` is set. A file that is cut is read from its start again."""
    seen, file, inode, begun = 0, None, 0, ""
    while True:
        last_time = ended.is_set()
        with suppress(OSError):
            if path.stat().st_ino != inode:
                if file:
                    file.close()
                file, begun = path.open(encoding="utf-8"), ""
                inode = os.fstat(file.fileno()).st_ino
        *whole, begun = (begun + (file.read() if file else "")).split("\n")
        for text in whole:
            with suppress(ValueError, TypeError, KeyError):
                line = parse_line(text)
                if int(line["step"]) > seen:
                    seen = int(line["step"])
                    yield line
        if last_time:
            if file:
                file.close()
            return
        ended.wait(POLL_SECONDS)


def history(path: Path, ended: threading.Event) -> Iterator[dict[str, float]]:
    """What a tracker logs of each line, with the supervised tokens that were trained on so far."""
    seen = 0.0
    for line in lines(path, ended):
        seen += line.get("supervised_tokens") or 0
        yield flat(line) | {layout.SUPERVISED_SEEN: seen}


def flat(line: Mapping[str, Any]) -> dict[str, float]:
    """train/loss, train/examples_by_source/gsm8k ...: numbers only."""
    numbers: dict[str, float] = {}
    for key, value in line.items():
        inner = value if isinstance(value, dict) else {"": value}
        numbers |= {f"{layout.TRAIN}{key}{'/' if name else ''}{name}": n for name, n in inner.items() if n is not None}
    return numbers
