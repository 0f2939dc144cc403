"""What a tracker's process does (process.py starts it): it shows each run that its input names, and says how that went.

python -m sft_sweeps.tracking.TRACKER        reads a line that says what to show, a list of `Attempt`s, and at the
                                             end one that says how it ended, an `Ending`; prints an `Outcome` each
"""

import json
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.files.json_files import parse_line
from sft_sweeps.identity import revive
from sft_sweeps.tracking import layout
from sft_sweeps.tracking import problems as noted
from sft_sweeps.tracking.base import Attempt, Ending, Outcome
from sft_sweeps.tracking.family import adopt_orphans, end_all_below
from sft_sweeps.tracking.process import log_file

LONGEST_END_SECONDS = 900.0  # that a mirror goes on alone
OPENED_SECONDS = 5.0  # after the end, within which a tracker must have begun: a server that has not answered never will
POLL_SECONDS = 0.5
ATTEMPTS = 3  # of a mirror whose tracker died
FAILURES = 2  # in a row, after which the rest of many runs is not tried
LONGEST_ENDING = 1 << 16  # bytes of what is said of the end
STATUSES = {0: "shown", 3: "there", 4: "kept"}  # with which an attempt's process ends; any other is a failure


class Ended(threading.Event):
    """Set when no more lines will come; `ending` is then how it ended. Without a word of that, training was killed.

    `opened` is not set as long as a tracker with a server waits for its first answer.
    """

    ending = Ending("interrupted")

    def __init__(self, opened: bool) -> None:
        super().__init__()
        self.opened = threading.Event()
        if opened:
            self.opened.set()


# Every line until `Ended` is set and none is left; what became of it, of STATUSES, if not "shown".
Show = Callable[[Attempt, Ended], str | None]


@dataclass(frozen=True)
class Way:
    """How a tracker's process shows runs: one that failed again, as `again` changes what is told of it.

    `server` is whether it waits for one. `secret` is in no message.
    """

    show: Show
    again: Callable[[Attempt], Attempt] = lambda attempt: attempt
    server: bool = False
    secret: str = ""


def run(way: Way) -> int:
    """Show every attempt that the input names until it ends; whatever goes wrong stands in this process's log."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Slurm signals every process of a job; the end of the input counts
    adopt_orphans()
    heard = mmap.mmap(-1, LONGEST_ENDING)
    failures, total, changed, why = 0, 0, False, ""
    for told in revive(list[Attempt], json.loads(_first_line(heard))):
        if failures == FAILURES:
            outcome = Outcome(told.identity, "failed", f"not tried after {failures} failures: {why}")
        else:
            outcome, changed = _outcome(way, way.again(told) if changed and not told.now else told, heard, changed)
            failures = failures + 1 if outcome.how == "failed" else 0
            why = outcome.why or why
        total += outcome.how == "failed"
        print(json.dumps(asdict(outcome)), flush=True)
    if total and why:
        noted.note(told.folder, told.tracking.name, why)  # what succeeded after it has taken its note away
    return 1 if total else 0


def _first_line(heard: mmap.mmap) -> bytes:
    """Of the input; what follows it is heard already."""
    begun = b""
    while b"\n" not in begun and (part := os.read(0, 1 << 20)):
        begun += part
    line, _, rest = begun.partition(b"\n")
    heard.write(rest[:LONGEST_ENDING])
    return line


def _outcome(way: Way, told: Attempt, heard: mmap.mmap, changed: bool) -> tuple[Outcome, bool]:
    """What became of one, and whether the way of showing had to be changed, which then holds for all that follow."""
    name = told.tracking.name
    for attempt in range(1 if told.now else ATTEMPTS):
        print(f"{told.label}: attempt {attempt + 1}", file=sys.stderr, flush=True)
        child = os.fork()  # a process in which W&B's service died can start no other
        if child == 0:
            os._exit(_attempt(way, told, heard))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        end_all_below(os.getpid())  # a service that still waits for its server
        if how := STATUSES.get(status):
            if told.now:
                noted.forget(told.folder)
            return revive(Outcome, {"id": told.identity, "how": how}), changed
        if not noted.problem_of(told.folder):
            noted.note(told.folder, name, f"its process ended with status {status}; see {log_file(Path(), name)}")
        told, changed = way.again(told), True
    return Outcome(told.identity, "failed", noted.problem_of(told.folder).removeprefix(f"{name}: ")), changed


def _attempt(way: Way, told: Attempt, heard: mmap.mmap) -> int:
    ended = Ended(opened=not way.server)
    threading.Thread(target=_listen, args=(told, ended, heard), daemon=True).start()
    try:
        how = way.show(told, ended) or "shown"
    except Exception as error:
        text = noted.text(error, way.secret)
        print(text, file=sys.stderr, flush=True)
        noted.note(told.folder, told.tracking.name, text)
        return 1
    print(f"{told.label}: {how}", file=sys.stderr, flush=True)
    return next(status for status, name in STATUSES.items() if name == how)


def _listen(told: Attempt, ended: Ended, heard: mmap.mmap) -> None:
    """Until the input ends, which it also does when training dies. What is heard outlives this attempt."""
    heard.seek(len(heard[:].rstrip(b"\0")))
    while part := os.read(0, LONGEST_ENDING):
        heard.write(part[: len(heard) - heard.tell()])
    with suppress(ValueError):
        ended.ending = revive(Ending, json.loads(heard[:].rstrip(b"\0")))
    ended.set()
    if told.follows and not told.now and not ended.opened.wait(OPENED_SECONDS):
        noted.note(told.folder, told.tracking.name, "its server had not answered when training ended")
        os._exit(1)
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
