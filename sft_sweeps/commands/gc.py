"""`sft-sweeps gc`: what of a store can go, why, and how much that is; `--yes` frees it."""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands import fit
from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.fit import Column
from sft_sweeps.errors import RequestError, RunError, nearest
from sft_sweeps.jobs import gc
from sft_sweeps.jobs.disposable import KINDS, Disposable, disposable
from sft_sweeps.jobs.needs import read_needs
from sft_sweeps.store import sharing
from sft_sweeps.store.store import Store
from sft_sweeps.store.usage import sizes
from sft_sweeps.terminal import console, counted, say, size

SCHEMA = 1
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])|0")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "; ".join(f"{kind}: {text}" for kind, text in KINDS.items())
    parser.add_argument("--yes", action="store_true", help="free it; without, nothing is changed")
    parser.add_argument("--only", metavar="KIND,...", help=f"these kinds alone ({kinds})".replace("%", "%%"))
    help_text = "leave what changed within that time, like 12h, 7d, 2w, or 0 (default: %(default)s)"
    parser.add_argument("--older-than", metavar="AGE", default="1d", help=help_text)
    help_text = "judge the models of all sweeps by this retention, in place of the one each was launched with"
    parser.add_argument("--retention", choices=["final", "scores"], help=help_text)
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    root = Path(options.output_dir)
    if not root.is_dir():
        raise RequestError(f"there is no folder {root}; name the output_dir of a launch: --output-dir FOLDER")
    only, older = _kinds(options.only), _seconds(options.older_than)
    store, policy = Store(root), options.retention or ""
    items, notes = disposable(read_needs(store), only, policy)
    old = [item for item in items if item.age >= older]
    young = [item for item in items if item.age < older]
    found = _found(store, old, young, notes)
    if options.yes and old:
        sharing.join(root)
        try:
            _note(found, gc.free(store, old, policy))
        except OSError as error:
            raise RequestError(f"{root} cannot be written ({error.strerror}); its owner can free it") from error
    print_json(SCHEMA, found) if options.json else show(found, options.older_than, console())
    return RunError.exit_status if any(item["state"] == "failed" for item in found["items"]) else 0


def _kinds(text: str | None) -> list[str]:
    chosen = [kind.strip() for kind in text.split(",")] if text is not None else []
    for kind in chosen:
        if kind not in KINDS:
            raise RequestError(f"--only has no kind '{kind}'; valid: {', '.join(KINDS)}{nearest(kind, KINDS)}")
    return chosen


def _seconds(text: str) -> float:
    if not (found := AGE.fullmatch(text)):
        raise RequestError(f"--older-than {text}: a number with its unit, like 30m, 12h, 7d or 2w; 0 for any age")
    return float(found[1]) * UNITS[found[2]] if found[1] else 0.0


def _found(
    store: Store, old: Sequence[Disposable], young: Sequence[Disposable], notes: Sequence[str]
) -> dict[str, Any]:
    """What can go, as JSON can hold it; the largest of each kind first."""
    items = [*old, *young]
    taken = {item.path: size.bytes for item, size in zip(items, sizes(item.path for item in items), strict=True)}
    ordered = sorted(old, key=lambda item: (item.order, -taken[item.path], item.path))
    return {
        "store": str(store.root),
        "freed": False,
        "bytes": sum(taken[item.path] for item in old),
        "items": [_item(item, taken[item.path]) for item in ordered],
        "younger": {"items": len(young), "bytes": sum(taken[item.path] for item in young)},
        "notes": list(notes),
        "kinds": KINDS,
    }


def _item(item: Disposable, taken: int) -> dict[str, Any]:
    shown = {"kind": item.kind, "what": item.what, "path": str(item.path), "why": item.why, "bytes": taken}
    return {**shown, "age_seconds": round(item.age), "state": "can go", "problem": ""}


def _note(found: dict[str, Any], results: Sequence[gc.Freed]) -> None:
    """Write down what came of each item."""
    by_path = {str(result.item.path): result for result in results}
    found["freed"] = True
    for item in found["items"]:
        result = by_path[item["path"]]
        item["problem"] = result.problem
        item["state"] = "failed" if result.problem else "kept" if result.kept else "freed"


def show(found: Mapping[str, Any], older_than: str, out: Console) -> None:
    """A row for each thing, then what came of it or what to type."""
    items = found["items"]
    if items:
        rows = [(item["kind"], item["what"], size(item["bytes"]), _why(item)) for item in items]
        title = f"what {'could' if found['freed'] else 'can'} go of {found['store']}"
        fit.show(_columns(rows), title, out)
    for line in _lines(found, older_than):
        say(out, escape(line))


def _columns(rows: Sequence[Sequence[str]]) -> list[Column]:
    kind, what, taken, why = (list(cells) for cells in zip(*rows, strict=True))
    return [
        Column("kind", kind),
        Column("what", what, good=60, least=16, ends=True),
        Column("size", taken, right=True),
        Column("why", why, good=60, least=16),
    ]


def _why(item: Mapping[str, Any]) -> str:
    state = {"failed": item["problem"], "kept": "kept: it is needed again"}
    return str(state.get(item["state"], item["why"]))


def _lines(found: Mapping[str, Any], older_than: str) -> list[str]:
    items, younger = found["items"], found["younger"]
    lines = [str(note) for note in found["notes"]]
    if younger["items"]:
        lines.append(
            f"left: {counted(younger['items'], 'thing')} of {size(younger['bytes'])} changed within {older_than}: "
            "--older-than 0"
        )
    gone = [item for item in items if item["state"] == "freed"]
    left = len(items) - len(gone)
    if found["freed"]:
        also = f"; {counted(left, 'thing')} stayed" if left else ""
        return [*lines, f"freed {size(sum(item['bytes'] for item in gone))} in {counted(len(gone), 'thing')}{also}"]
    if items:
        return [
            *lines,
            f"{size(found['bytes'])} in {counted(len(items), 'thing')} can go; nothing is changed until you add --yes",
        ]
    return [*lines, "nothing can go"]


ABOUT = """\
Nothing is changed without --yes. What a sweep's plan asks for, a child or a score is still to be made from, or a living
job works on stays, also where others launch meanwhile; a gc that is killed is finished by the next one. To give a sweep
up, delete its folder below sweeps/: what it alone asked for is then an orphan. See docs/disk.md."""
COMMAND = Command(
    "gc",
    "what of a store can go, and why; --yes frees it",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps gc                                  # what can go, and why",
        "sft-sweeps gc --yes                            # frees that",
        "sft-sweeps gc --only resume,unfinished --yes   # of these kinds alone",
        "sft-sweeps gc --retention final                # as if every sweep kept only where its runs end",
    ),
    topic="keep",
)
