"""trackio: a dashboard without an account, over SQLite files in the store. It is written by a process (process.py).

    TRACKIO_DIR=OUTPUT_DIR/trackio trackio show

A run's id is the stage's, and a line's is made of it and the step: whatever is shown twice is there once. Where the
store lies on a network's file system, on which SQLite is not safe, trackio itself has the lines written as files into
an inbox, from which its dashboard takes them.
"""

import getpass
import os
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import layout, process, showing
from sft_sweeps.tracking.base import Attempt, Mirror, Table, Tracker
from sft_sweeps.tracking.showing import Ended, Way

NAME = "trackio"
FOLDER = "TRACKIO_DIR"  # the variable that says where its files lie
TOGETHER_SECONDS = 1.0  # lines that come within it are written together

Row = tuple[int, dict[str, Any]]  # a step with what is shown of it


def open_mirror(attempt: Attempt) -> Mirror:
    """A process that mirrors the attempt."""
    return process.open_beside(attempt, "sft_sweeps.tracking.trackio", FOLDER)


def _mirror(attempt: Attempt, ended: Ended) -> None:
    write = _writer(attempt)
    waiting: list[Row] = []
    written = time.monotonic()
    for row in _rows(attempt, ended):
        waiting.append(row)
        if time.monotonic() > written + TOGETHER_SECONDS:
            write(waiting)
            waiting, written = [], time.monotonic()
    write(waiting)
    print(f"everything is in {os.environ[FOLDER]}", flush=True)


def _rows(attempt: Attempt, ended: Ended) -> Iterator[Row]:
    """A training run's lines as they come; of any other run what its summary and its tables have."""
    if attempt.follows:
        yield from ((int(row.pop(layout.STEP)), row) for row in showing.history(attempt.metrics, ended))
    else:
        yield 0, dict(attempt.summary) | {name: _table(table) for name, table in attempt.tables.items()}


def _table(table: Table) -> dict[str, Any]:
    """As trackio keeps a table."""
    return {"_type": "trackio.table", "_value": [dict(zip(table.columns, row, strict=True)) for row in table.rows]}


def _writer(attempt: Attempt) -> Any:
    """What writes rows of the run, in the way that trackio chooses for the file system."""
    from trackio import fragments, utils
    from trackio.sqlite_storage import SQLiteStorage

    run = {"project": attempt.tracking.project or layout.DEFAULT_PROJECT, "run": process.run_name(attempt)}
    run |= {"run_id": attempt.identity}
    SQLiteStorage.validate_project_name(run["project"])
    config = {**_flat(layout.STUDY, dict(attempt.tracking.axes)), **_flat("", attempt.config)}
    config |= {"_Username": _user(), "_Created": _now(), "_Group": attempt.tracking.group}

    def into_inbox(rows: list[Row]) -> None:
        told = {**run, "timestamp": _now(), "config": config}
        entries = [{**told, "step": step, "metrics": row, "log_id": _line_id(attempt, step)} for step, row in rows]
        inbox.write_local([fragments.metric_record(entry) for entry in entries])

    def into_database(rows: list[Row]) -> None:
        ids = [_line_id(attempt, step) for step, _ in rows]
        steps, shown = [step for step, _ in rows], [row for _, row in rows]
        SQLiteStorage.bulk_log(**run, metrics_list=shown, steps=steps, config=config, log_ids=ids)

    if utils.get_storage_mode() == "jsonl":
        inbox = fragments.FragmentWriter(attempt.identity)
        return into_inbox
    # Steps that are done again replace those of the attempt before, which metrics.jsonl has no more.
    SQLiteStorage.delete_run(**run)
    return into_database


def _line_id(attempt: Attempt, step: int) -> str:
    return f"{attempt.identity}-{step}"


def _flat(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
    """`recipe.epochs`, `study.k`: trackio shows one level."""
    found: dict[str, Any] = {}
    for key, value in of.items():
        inner = f"{name}.{key}" if name else str(key).lstrip("_")  # one that begins with _ is trackio's own
        found |= _flat(inner, value) if isinstance(value, Mapping) else {inner: value}
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, in a container
        return ""


def problems(_: Tracking) -> Iterator[str]:
    """Whether it is there at all."""
    return process.lacking(NAME, "trackio")


TRACKER = Tracker(NAME, open_mirror, problems)


if __name__ == "__main__":
    sys.exit(showing.run(Way(_mirror)))
