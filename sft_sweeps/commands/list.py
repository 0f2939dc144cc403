"""`sft-sweeps list`: the sweeps of a store, the newest last, each with how far it is.

As JSON (`--json`, `"schema": 1`): `store` and `sweeps`, each with `sweep`, `question`, `started`, `runs`, `stages`
(their number), `states` (how many are in each), `scores` {"done", "total"}, with `--size` its `bytes`, and `problem`:
why nothing is known of it, empty where something is.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands import fit
from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.fit import Column
from sft_sweeps.errors import SweepError
from sft_sweeps.plan.build import TRAINED
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store.seen import Seen
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import Sweep, find, sweeps
from sft_sweeps.store.usage import usage
from sft_sweeps.terminal import console, say, size

SCHEMA = 1
ORDER = ("running", "failed", "corrupted", "interrupted", "missing")  # of the states that are shown


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", action="store_true", help="what each takes of the disk, with all its stages")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    store = Store(options.output_dir)
    find(store, None)  # says what to type where there is none
    found = listed(sweeps(store), store, with_size=options.size)
    print_json(SCHEMA, found) if options.json else show(found, console())
    return 0


def listed(chosen: Sequence[Sweep], store: Store, *, with_size: bool = False) -> dict[str, Any]:
    """Some sweeps of a store, as JSON can hold it; Slurm's queue is asked once for all of them."""
    queue, used = Queue(), usage(store.root) if with_size else None
    rows = []
    for sweep in chosen:
        row = _row(sweep, store.root, queue)
        if used and sweep.name in used.sweeps:
            row["bytes"] = used.sweeps[sweep.name].bytes + sum(taken.bytes for taken in used.of_sweep(sweep.name))
        rows.append(row)
    return {"store": str(store.root), "sweeps": rows}


def _row(sweep: Sweep, root: Path, queue: Queue) -> dict[str, Any]:
    row: dict[str, Any] = {"sweep": sweep.name, "started": _started(sweep.name)}
    try:
        plan, question = sweep.plan(), sweep.question
    except SweepError as error:
        nothing = {"question": "", "runs": 0, "stages": 0, "states": {}, "scores": {"done": 0, "total": 0}}
        return {**row, **nothing, "problem": str(error)}
    states = survey(plan, sweep.store(root), queue, thorough=False, seen=Seen(sweep.folder)).states
    return {
        **row,
        "question": question,
        "runs": len(plan.runs),
        "stages": len(plan.stages),
        "states": dict(Counter(states[stage.id].state for stage in plan.stages)),
        "scores": {"done": sum(states[one.id].state == "done" for one in plan.scores), "total": len(plan.scores)},
        "problem": "",
    }


def _started(name: str) -> str:
    """When a sweep was launched first, by its name; empty where the name does not begin with a time."""
    day, _, rest = name.partition("-")
    clock = rest.partition("-")[0]
    if (len(day), len(clock)) != (8, 6) or not (day + clock).isdigit():
        return ""
    return f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}:{clock[4:]}"


def show(found: Mapping[str, Any], out: Console) -> None:
    """A row for each sweep, and the whole reason where one cannot be read."""
    rows = found["sweeps"]
    fit.show(_columns(rows), f"sweeps in {found['store']}", out)
    for row in rows:
        if row["problem"]:
            say(out, escape(row["problem"]))


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    states = [_states(row) for row in rows]
    taken = [size(row["bytes"]) if "bytes" in row else "" for row in rows]
    return [
        Column("sweep", [row["sweep"] for row in rows], good=44, least=24, ends=True),
        Column("runs", [_count(row, row["runs"]) for row in rows], right=True, dropped=2),
        Column("stages", [_of(row, _trained(row), row["stages"]) for row in rows], right=True),
        Column("scores", [_of(row, row["scores"]["done"], row["scores"]["total"]) for row in rows], right=True),
        *([Column("size", taken, right=True)] if any(taken) else []),
        Column("state", states, [_style(row) for row in rows], good=24, least=10, dropped=1),
    ]


def _trained(row: Mapping[str, Any]) -> int:
    return sum(row["states"].get(state, 0) for state in TRAINED)


def _of(row: Mapping[str, Any], done: int, total: int) -> str:
    return _count(row, f"{done:,} of {total:,}")


def _count(row: Mapping[str, Any], value: object) -> str:
    return "?" if row["problem"] else str(value)


def _states(row: Mapping[str, Any]) -> str:
    if row["problem"]:
        return "cannot be read"
    parts = [f"{row['states'][state]:,} {state}" for state in ORDER if row["states"].get(state)]
    left = row["scores"]["total"] - row["scores"]["done"]
    return ", ".join(parts) or (f"{left:,} scores missing" if left else "done")


def _style(row: Mapping[str, Any]) -> str:
    states = row["states"]
    if row["problem"] or states.get("failed") or states.get("corrupted"):
        return "red"
    return "cyan" if states.get("running") else "green" if _states(row) == "done" else "yellow"


COMMAND = Command(
    "list",
    "the sweeps of a store, the newest last: how far each is",
    _run,
    _add_arguments,
    examples=(
        "sft-sweeps list",
        "sft-sweeps list --size  # with what each takes of the disk",
    ),
    topic="watch",
)
