"""A mirror in a process of its own: it reads metrics.jsonl as it grows, and shows each line elsewhere.

Training writes its file and knows of no tracker. It starts the tracker's module as a process (showing.py), closes its
input at the end, and waits a bounded time: no exception, delay or death of the tracker reaches it.
"""

import importlib.util
import json
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from sft_sweeps import PACKAGE
from sft_sweeps.identity import revive
from sft_sweeps.tracking import layout
from sft_sweeps.tracking import problems as noted
from sft_sweeps.tracking.base import Attempt, Ending, Mirror, Outcome
from sft_sweeps.tracking.family import end_all_below

log = logging.getLogger(__name__)

TOP = ("stages", "models", "sweeps")  # folders of a store


class ProcessMirror:
    """A process that mirrors one attempt at a stage by running a module, with some more in its environment.

    One that cannot be started is reported, and that is all.
    """

    def __init__(self, attempt: Attempt, module: str, environment: Mapping[str, str]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self.name, self.folder = attempt.tracking.name, attempt.folder
        try:
            self._start(module, environment)
            self._send(_told([attempt]))
        except OSError as error:
            log.warning("no mirror at %s: %s", self.name, error)
            noted.note(self.folder, self.name, str(error))

    def _start(self, module: str, environment: Mapping[str, str]) -> None:
        with _opened_log(self.folder, self.name) as out:
            self._process = _started(module, environment, out, out)

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
            with suppress(subprocess.TimeoutExpired):
                _end(self._process)
                self._process.wait(1)
        if self._process.returncode and not noted.problem_of(self.folder):
            text = f"its process ended with status {self._process.returncode}; see {log_file(Path(), self.name)}"
            noted.note(self.folder, self.name, text)

    def _send(self, text: str) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        end_all_below(process.pid)
        process.kill()


def log_file(folder: Path, name: str) -> Path:
    """What the process of a tracker says, in the stage's folder."""
    return folder / "logs" / f"{name}.log"


def _opened_log(folder: Path, name: str) -> IO[bytes]:
    path = log_file(folder, name)
    path.parent.mkdir(exist_ok=True)
    return path.open("ab")


def _told(attempts: Sequence[Attempt]) -> str:
    """The line that says what to show."""
    told = [asdict(attempt) | {"folder": attempt.folder.absolute()} for attempt in attempts]
    return json.dumps(told, default=str) + "\n"


def place(of: Path, name: str, variable: str) -> Path:
    """Where a tracker of this machine keeps its files: as the user's variable says, else beside a store's stages."""
    if named := os.environ.get(variable):
        return Path(named).absolute()
    inside = of.absolute()
    tops = (parent.parent for parent in (inside, *inside.parents) if parent.name in TOP)
    return next(tops, inside) / name


def open_beside(attempt: Attempt, module: str, variable: str) -> Mirror:
    """A process of a tracker of this machine, which finds where it keeps its files in that variable."""
    return ProcessMirror(attempt, module, {variable: str(place(attempt.folder, attempt.tracking.name, variable))})


def lacking(name: str, library: str) -> Iterator[str]:
    """What to type where a tracker's library is not here."""
    if importlib.util.find_spec(library) is None:
        yield f"tracking={name} needs {library}, which is not here; type: pip install 'sft-sweeps[{name}]'"


def run_name(attempt: Attempt) -> str:
    """What people read, with the id, where a tracker tells runs apart by their names alone."""
    return f"{layout.cut(attempt.label, layout.LONGEST_NAME - layout.LONGEST_ID)} {attempt.identity}"


def _started(module: str, own: Mapping[str, str], out: Any, errors: Any) -> "subprocess.Popen[bytes]":
    """Without the ranks' variables, which would make a tracker look for others."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    path = os.pathsep.join(filter(None, (str(PACKAGE.parent), kept.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=errors,
        start_new_session=True,
        env={**kept, **own, "PYTHONPATH": path},
    )


def publish(
    attempts: Sequence[Attempt], module: str, environment: Mapping[str, str], seconds: float
) -> Iterator[Outcome]:
    """Show finished runs of one tracker, one after the other; each must be there within so many seconds."""
    if not attempts:
        return
    waiting = [attempt.identity for attempt in attempts]
    first = attempts[0]
    with _opened_log(first.folder, first.tracking.name) as errors:
        process = _started(module, environment, subprocess.PIPE, errors)
    try:
        assert process.stdin is not None
        with suppress(OSError), process.stdin:
            process.stdin.write((_told(attempts) + json.dumps(asdict(Ending())) + "\n").encode())
        for outcome in _outcomes(process, seconds):
            waiting.remove(outcome.id)
            yield outcome
    finally:
        _end(process)
        process.wait()
        if process.stdout:
            process.stdout.close()
    why = f"it was not done within {seconds:.0f} s" if process.returncode == -signal.SIGKILL else "its process died"
    yield from (Outcome(one, "failed", f"{why}; see {log_file(first.folder, first.tracking.name)}") for one in waiting)


def _outcomes(process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[Outcome]:
    """As they are printed, until the process ends or says nothing for so long."""
    assert process.stdout is not None
    begun = b""
    while select.select([process.stdout], [], [], seconds)[0]:
        part = os.read(process.stdout.fileno(), 1 << 16)
        if not part:
            return
        *lines_, begun = (begun + part).split(b"\n")
        for line in lines_:
            with suppress(ValueError):  # what a library prints
                yield revive(Outcome, json.loads(line))
