"""`sft-sweeps export SWEEP`: one file with all that a sweep's report is made of, and no weights."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from sft_sweeps.commands.command import Command, add_json, add_output_dir, add_sweep, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.files import archive
from sft_sweeps.store.exports import Export, export_of
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import console, say, size, writing

SCHEMA = 1
SUFFIX = ".tar.zst"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    parser.add_argument("--out", metavar="FILE", help=f"the file to write (default: the sweep's name{SUFFIX}, here)")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    sweep = find(Store(options.output_dir), options.sweep)
    target = Path(options.out or f"{sweep.name}{SUFFIX}")
    if target.exists():
        raise RequestError(f"{target} is there already and is not overwritten; choose another: --out FILE")
    made = export_of(sweep, sweep.store(options.output_dir))
    with writing(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with progress("packing", made.bytes) as step:
            archive.write(target, made.about, made.contents, step)
    found = _found(sweep.name, target, made)
    print_json(SCHEMA, found) if options.json else _show(found)
    return 0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of bytes on a terminal, on standard error; the function that is told of each part."""
    out = console(stderr=True)
    columns = (TextColumn(what), BarColumn(), DownloadColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda part: bar.advance(task, part)


def _found(sweep: str, target: Path, made: Export) -> dict[str, Any]:
    return {
        "sweep": sweep,
        "file": str(target),
        "bytes": target.stat().st_size,
        "unpacked_bytes": made.bytes,
        "files": len(made.contents),
        "left_out": made.left_out,
    }


def _show(found: dict[str, Any]) -> None:
    out = console()
    if found["left_out"]:
        counts = ", ".join(f"{count:,} x {what}" for what, count in found["left_out"].items())
        say(out, escape(f"not done, and so not in it: {counts}"))
    sizes = f"{size(found['bytes'])}; {size(found['unpacked_bytes'])} unpacked"
    say(out, escape(f"written: {found['file']} ({found['files']:,} files, {sizes}), without weights"))
    say(out, escape(f"at the other site: sft-sweeps import {Path(found['file']).name}"))


ABOUT = """\
It holds the plan, the records, scores, answers and curves of what is done, so that `sft-sweeps report` makes the same
page of it elsewhere. Weights, logs, code and paths of this machine stay here. Equal results make equal bytes."""
COMMAND = Command(
    "export",
    "one file with all that a sweep's report is made of, and no weights",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps export quickstart                   # into the working folder",
        "sft-sweeps export quickstart --out mine.tar.zst",
    ),
    topic="keep",
)
