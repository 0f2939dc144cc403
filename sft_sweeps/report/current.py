"""Whether a report says what would be written now: then it is left alone, and its statistics are read from it.

`made.json` beside the report names what it was made from (runs, scores, this package's code) and what was written. A
report that somebody changed, or that lost a file, is made again.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sft_sweeps import PACKAGE
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.plan.build import Plan
from sft_sweeps.report import judges
from sft_sweeps.report.scores import Scores

MADE = "made.json"
CODE = (".py", ".csv", ".j2", ".css", ".js")


def key(plan: Plan, scores: Scores, sweep: str, question: str) -> str:
    """A digest of all that a report follows from."""
    digest = hashlib.sha256(json.dumps([sweep, question, list(_code())]).encode())
    for run in plan.runs:
        stages = [(stage.id, stage.label) for stage in run.stages]
        digest.update(json.dumps([run.id, run.label, run.strategy, str(run.k), run.points, stages]).encode())
    for claim in plan.hypotheses:
        digest.update(json.dumps(asdict(claim)).encode())
    for score in plan.scores:
        digest.update(json.dumps([score.id, scores.record(score), scores.unjudged(score)]).encode())
    digest.update(json.dumps(judges.records(plan, scores)).encode())
    for one in plan.analyses:
        digest.update(json.dumps([one.id, scores.store.record(one)]).encode())
    return digest.hexdigest()


def _code() -> Iterator[tuple[str, int, int]]:
    """Each file of this package with its size and time."""
    for folder, _, files in os.walk(PACKAGE):
        for name in sorted(files):
            if name.endswith(CODE):
                status = os.stat(os.path.join(folder, name))
                yield name, status.st_size, status.st_mtime_ns


def note(folder: Path, made_from: str, files: Sequence[Path]) -> None:
    """Say what the report in a folder was made from; its figures and tables belong to it."""
    drawn = [path for name in ("figures", "tables") for path in sorted((folder / name).glob("*"))]
    digests = {str(path.relative_to(folder)): _digest(path) for path in [*files, *drawn]}
    write_json(folder / MADE, {"from": made_from, "files": digests}, durable=False)


def read(folder: Path, made_from: str) -> dict[str, Any] | None:
    """results.json of a report that was made from this and is as it was written; None where there is none."""
    try:
        made = read_json(folder / MADE)
        if made["from"] != made_from or not made["files"]:
            return None
        if any(_digest(folder / name) != content for name, content in made["files"].items()):
            return None
        return dict(read_json(folder / "results.json"))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
