"""`sft-sweeps import FILE`: takes an export into a store, so that its report can be made here."""
# ruff: noqa: N999 (a command's file bears its name)

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.export import progress
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError
from sft_sweeps.store import export_contents, imports, sharing
from sft_sweeps.store.export_contents import Unit
from sft_sweeps.store.exports import kind_of
from sft_sweeps.store.imports import Imported
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import console, say, size

SCHEMA = 1
KINDS = ("base model", "stage", "generation", "score", "representations")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what `sft-sweeps export` wrote")
    parser.add_argument("--dry-run", action="store_true", help="check it and say what is new; write nothing")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    path, store = Path(options.file), Store(options.output_dir)
    try:
        with progress("checking", path.stat().st_size) as step:
            contents = export_contents.check(path, step)
        if options.dry_run:
            taken = imports.arrivals(contents, store)
        else:
            sharing.join(store.root)
            with progress("unpacking", contents.bytes) as step:
                taken = imports.take(path, contents, store, step)
    except FileNotFoundError:
        raise RequestError(f"there is no file {path}") from None
    except OSError as error:
        why = f"{store.root} cannot be written ({error.strerror})"
        raise RequestError(f"{why}; make room, or choose another: --output-dir FOLDER") from error
    found = _found(store, path, taken, written=not options.dry_run)
    print_json(SCHEMA, found) if options.json else _show(found)
    return 0


def _found(store: Store, path: Path, taken: Imported, *, written: bool) -> dict[str, Any]:
    return {
        "store": str(store.root),
        "file": str(path),
        "sweep": taken.sweep,
        "written": written,
        "sweep_is_new": taken.sweep_is_new,
        "new": _counts(taken.new),
        "kept": _counts(taken.kept),
        "bytes": sum(member.size for unit in taken.new for member in unit.members),
    }


def _counts(units: Iterable[Unit]) -> dict[str, int]:
    found = Counter(kind_of(unit.item) for unit in units)
    return {kind: found[kind] for kind in KINDS if found[kind]}


def _show(found: dict[str, Any]) -> None:
    out, name = console(), found["sweep"]
    new = ", ".join(f"{count:,} x {what}" for what, count in found["new"].items())
    if not new and not found["sweep_is_new"]:
        say(out, escape(f"nothing to import: all of {name} is in {found['store']}"))
        return
    kept = f"; here already: {sum(found['kept'].values()):,}" if found["kept"] else ""
    done = "imported" if found["written"] else "would be imported"
    say(out, escape(f"{done} into {found['store']}: {name}: {new or 'its plan'} ({size(found['bytes'])}){kept}"))
    if found["written"]:
        say(out, escape(f"its page: {site.command(found['store'], 'report', name)}"))


ABOUT = """\
The file is checked whole before anything is written. What is here already stays; what contradicts it, as the same
stage with other weights, is refused. Models come without weights: their stages say `weights gone`, and a launch that
needs the weights trains them here."""
COMMAND = Command(
    "import",
    "takes what `sft-sweeps export` wrote into a store",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps import quickstart.tar.zst",
        "sft-sweeps import quickstart.tar.zst --dry-run # what is new here",
    ),
    topic="keep",
)
