"""`sft-sweeps du`: where a store's disk went, by what it is and by sweep.

As JSON (`--json`, `"schema": 1`): `store`, `bytes`, `files`, `free_bytes` of its file system, `what` (each byte once),
`sweeps` (a stage that several ask for is in the `bytes` of each, and in the `alone_bytes` of none), `unasked` (what no
sweep asks for), `stages` (base models too, the largest first), `unread` (folders that could not be looked into).
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands import fit
from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.fit import Column
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError
from sft_sweeps.store.usage import Taken, Usage, usage
from sft_sweeps.terminal import console, say, size

SCHEMA = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    found = disk_usage(Path(options.output_dir))
    print_json(SCHEMA, found) if options.json else show(found, console())
    return 0


def disk_usage(root: Path) -> dict[str, Any]:
    """Where the disk went, as JSON can hold it; RequestError where there is no store."""
    if not root.is_dir():
        raise RequestError(f"there is no folder {root}; name the output_dir of a launch: --output-dir FOLDER")
    used = usage(root)
    asked = {sweep: [taken.id for taken in used.of_sweep(sweep)] for sweep in sorted(used.sweeps)}
    stages = sorted(used.subjects.values(), key=lambda taken: (-taken.bytes, taken.name))
    return {
        "store": str(root),
        "bytes": used.total.bytes,
        "files": used.total.files,
        "free_bytes": shutil.disk_usage(root).free,
        "what": _what(used),
        "sweeps": [_sweep(sweep, used) for sweep in sorted(used.sweeps)],
        "unasked": {"bytes": _sum(used.unasked()), "stages": len(used.unasked())},
        "stages": [_stage(taken, asked) for taken in stages],
        "unread": used.unread,
    }


def _what(used: Usage) -> list[dict[str, Any]]:
    """The largest first."""
    ordered = sorted(used.by_what.items(), key=lambda item: (-item[1].bytes, item[0]))
    return [{"what": what, "bytes": part.bytes, "files": part.files} for what, part in ordered if part.bytes]


def _sweep(name: str, used: Usage) -> dict[str, Any]:
    own, stages, alone = used.sweeps[name].bytes, used.of_sweep(name), used.alone(name)
    return {
        "sweep": name,
        "stages": len(stages),
        "bytes": own + _sum(stages),
        "alone_bytes": own + _sum(alone),
        "folder_bytes": own,
        "readable": used.asked[name] is not None,
    }


def _stage(taken: Taken, asked: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    return {
        "id": taken.id,
        "folder": taken.name,
        "bytes": taken.bytes,
        "what": {what: part.bytes for what, part in sorted(taken.by_what.items())},
        "sweeps": [sweep for sweep, ids in asked.items() if taken.id in ids],
    }


def _sum(subjects: Sequence[Taken]) -> int:
    return sum(taken.bytes for taken in subjects)


def show(found: Mapping[str, Any], out: Console) -> None:
    """Two tables, what no sweep asks for, and the sum."""
    what = [
        Column("what", [part["what"] for part in found["what"]]),
        Column("size", [size(part["bytes"]) for part in found["what"]], right=True),
        Column("share", [_share(part["bytes"], found["bytes"]) for part in found["what"]], right=True),
        Column("files", [f"{part['files']:,}" for part in found["what"]], right=True, dropped=1),
    ]
    fit.show(what, str(found["store"]), out)
    if found["sweeps"]:
        _show_sweeps(found["sweeps"], out)
    for line in _lines(found):
        say(out, escape(line))


def _show_sweeps(sweeps: Sequence[Mapping[str, Any]], out: Console) -> None:
    columns = [
        Column("sweep", [sweep["sweep"] for sweep in sweeps], good=44, least=20, ends=True),
        Column("stages", [f"{sweep['stages']:,}" for sweep in sweeps], right=True, dropped=2),
        Column("all of it", [size(sweep["bytes"]) for sweep in sweeps], right=True),
        Column("only its", [size(sweep["alone_bytes"]) for sweep in sweeps], right=True),
        Column("its folder", [size(sweep["folder_bytes"]) for sweep in sweeps], right=True, dropped=1),
    ]
    fit.show(columns, "sweeps (what several ask for is in each one's `all of it`)", out)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""


def _lines(found: Mapping[str, Any]) -> list[str]:
    lines = []
    if found["unasked"]["stages"]:
        taken = found["unasked"]
        text = f"stages and base models in no sweep's plan: {taken['stages']:,}, {size(taken['bytes'])}"
        lines.append(f"{text}; what can go: {site.command(found['store'], 'gc')}")
    unreadable = [sweep["sweep"] for sweep in found["sweeps"] if not sweep["readable"]]
    if unreadable:
        lines.append(f"plans that cannot be read, so that nobody knows what is theirs: {', '.join(unreadable)}")
    if found["unread"]:
        more = f" and {len(found['unread']) - 1} more" if found["unread"][1:] else ""
        lines.append(f"could not be looked into, and is not counted: {found['unread'][0]}{more}")
    files, free = f"{found['files']:,} files", size(found["free_bytes"])
    return [*lines, f"{size(found['bytes'])} in {files}; {free} free on its file system"]


ABOUT = """\
Each file is counted once, as the system's du counts. Of a sweep, `all of it` is its folder with every stage that its
plan names; `only its` is what no other sweep's plan names."""
COMMAND = Command(
    "du",
    "where a store's disk went: by what it is, and by sweep",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps du",
        "sft-sweeps du --json",
    ),
    topic="keep",
)
