"""The command `sft-sweeps logs`: the last lines of a log, all of it, or what is added until the job has ended."""

import argparse
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.logs.log import Log, Tail, written
from sft_sweeps.commands.logs.subjects import find
from sft_sweeps.errors import RequestError, visible
from sft_sweeps.jobs.kinds import KINDS

WHICH = ", ".join(f"{kind.name} {kind.does}" for kind in KINDS.values())
SCHEMA = 1
POLL_SECONDS = 0.5
QUEUE_SECONDS = 5.0  # between two questions to Slurm


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("stage", help="the beginning of its id, or part of its label")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--follow", action="store_true", help="go on until the job has ended")
    add_json(output)
    parser.add_argument("--rank", type=int, default=0, metavar="N", help="of its processes (default: %(default)s)")
    parser.add_argument(
        "--kind",
        choices=KINDS,
        metavar="KIND",
        help=f"{WHICH}; default: all that wrote something, with --lines the last",
    )
    parser.add_argument("--lines", type=int, default=0, metavar="N", help="only the last ones (default: all)")
    add_output_dir(parser)


def _run(options: argparse.Namespace) -> int:
    for name in ("rank", "lines"):
        if getattr(options, name) < 0:
            raise RequestError(f"--{name} {getattr(options, name)} is negative; give 0 or more")
    root = Path(options.output_dir)
    subject = find(root, options.stage)
    if options.json:
        print_json(SCHEMA, as_json(Log(root, subject, options.kind or "", options.rank), options.lines))
        return 0
    for kind in [] if options.kind or options.lines else written(subject, options.rank)[:-1]:
        with closing(Printer(Log(root, subject, kind, options.rank), 0)) as printer:
            printer.print_news()
    show(Log(root, subject, options.kind or "", options.rank), options.lines, options.follow)
    return 0


def as_json(log: Log, lines: int) -> dict[str, Any]:
    """The log of one kind of job: its last lines (0: all), by file. RunError where there is none."""
    if not log.files():
        raise log.absent(log.coming())
    texts = {}
    for path in log.files():
        with closing(Tail(path, lines)) as tail:
            texts[path] = tail.news().decode("utf-8", "replace")
    return {
        "id": log.subject.id,
        "label": log.subject.label,
        "kind": log.kind,
        "rank": log.rank,
        "files": [{"file": str(path), "lines": text.splitlines()} for path, text in texts.items()],
        "coming": log.coming(),
        "failed": log.failed(),
    }


def show(log: Log, lines: int, follow: bool) -> None:
    """Print a log to standard output, and its name to standard error; `lines`: only the last ones (0: all).

    `follow` goes on until the job has ended, from Slurm's log to the worker's. RunError where there is no log, and none
    to come.
    """
    coming = log.coming() if follow or not log.files() else ""
    if not log.files():
        if not (follow and coming):
            raise log.absent(coming)
        print(log.absent(coming), file=sys.stderr, flush=True)
    with closing(Printer(log, lines)) as printer, suppress(KeyboardInterrupt):
        while coming and follow:
            until = time.monotonic() + QUEUE_SECONDS
            while time.monotonic() < until:
                printer.print_news()
                time.sleep(POLL_SECONDS)
            coming = log.coming()
        printer.print_news()
    if why := "" if coming and not follow else log.failed():
        print(f"{log.kind} {log.subject.label} failed: {visible(why)}", file=sys.stderr, flush=True)


class Printer:
    """Prints what is added to a log, each file's name before its text, as `tail` does."""

    def __init__(self, log: Log, lines: int) -> None:
        self.log, self.lines = log, lines
        self.tails: dict[Path, Tail] = {}
        self.named: Path | None = None

    def print_news(self) -> None:
        """Print what is new."""
        for path in self.log.files():
            tail = self.tails.get(path) or Tail(path, self.lines)
            self.tails[path] = tail
            if text := tail.news():
                if path != self.named:
                    print(f"==> {path} <==", file=sys.stderr, flush=True)
                self.named = path
                sys.stdout.flush()
                sys.stdout.buffer.write(_harmless(text) if sys.stdout.isatty() else text)
                sys.stdout.buffer.flush()
        self.lines = 0  # what appears later is printed whole

    def close(self) -> None:
        for tail in self.tails.values():
            tail.close()


def _harmless(text: bytes) -> bytes:
    """What a job printed, its orders to a terminal written out but for returns, which draw bars of progress."""
    parts = text.decode("utf-8", "replace").split("\r")
    return "\r".join(map(visible, parts)).encode()


ABOUT = """\
A worker writes into its stage's folder; until it comes to that there is Slurm's own log of the job."""
COMMAND = Command(
    "logs",
    "what a stage's job prints",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps logs STAGE",
        "sft-sweeps logs STAGE --kind train --lines 5",
        "sft-sweeps logs STAGE --follow  # until its job has ended",
    ),
    topic="watch",
)
