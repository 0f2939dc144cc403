"""What of a sweep goes into an export: all that its report is made of, and no weights.

    sweeps/<name>/    plan.json, overrides.txt
    stages/, models/  of what is done: its record, identity, data, metrics and starts; generations/, scores/ and
                      representations/ with their records

What lies in other stores (`store.read_from`) is taken from there. Paths of this machine are taken out of the plan.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.errors import RequestError
from sft_sweeps.files.archive import Member, member_of
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.plan.build import Subject
from sft_sweeps.spec.training import Model
from sft_sweeps.store.store import RECORD, WEIGHTS, Item, RecordError, Store, damaged_files, lost_files, read_record
from sft_sweeps.store.sweeps import OVERRIDES, PLAN, Sweep, points, portable
from sft_sweeps.tracking.metrics import METRICS

FORMAT, VERSION = "sft-sweeps export", 1
BESIDE = ("identity.json", "data.json", METRICS, "starts.jsonl", "attempts.jsonl")  # a stage's, with its record


@dataclass
class Export:
    """What is packed: each member with the file or the bytes that it is made of; `left_out` says what is not done."""

    about: dict[str, Any]
    contents: dict[Member, Path | bytes] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(member.size for member in self.contents)


def export_of(sweep: Sweep, store: Store) -> Export:
    """All of a sweep that is done, the plan first; RequestError where a file is damaged."""
    plan = sweep.plan()
    made = Export(
        {"format": FORMAT, "version": VERSION, "made_by": __version__, "sweep": sweep.name, "question": sweep.question}
    )
    parts: dict[str, Path] = {}
    for item in (*plan.subjects, *plan.generations, *plan.scores, *plan.analyses):
        if isinstance(item, Subject) and not item.made:
            continue  # published weights
        found = dict(_of_item(item, store))
        if not found:
            made.left_out[kind_of(item)] = made.left_out.get(kind_of(item), 0) + 1
        parts |= found
    head: dict[str, Path | bytes] = {f"sweeps/{sweep.name}/{PLAN}": portable_plan(sweep)}
    if overrides := portable_overrides(sweep):
        head[f"sweeps/{sweep.name}/{OVERRIDES}"] = overrides
    ordered = {**head, **dict(sorted(parts.items()))}
    made.contents = {member_of(path, content): content for path, content in ordered.items()}
    return made


def kind_of(item: Item) -> str:
    """What an item is, for people: "stage", "base model", "generation", "score", "representations"."""
    return "base model" if isinstance(item, Model) else type(item).__name__.lower()


def _of_item(item: Item, store: Store) -> Iterator[tuple[str, Path]]:
    """The files of finished work by their paths in a store; none where it is not done. Of a model: all but weights."""
    folder = store.read_folder(item)
    try:
        record = read_record(folder, item.payload)
    except RecordError as error:
        raise RequestError(f"{error}; sft-sweeps doctor store says more") from error
    if record is None:
        return
    of_model, files = isinstance(item, Subject), packed(item, record)
    sums = {name: one for name, one in record.get("checksums", {}).items() if name in files}
    if lost := lost_files(folder, {"files": files}) or damaged_files(folder, {"checksums": sums}):
        raise RequestError(f"{folder}: {', '.join(lost)} lost or changed since it was written; sft-sweeps doctor store")
    where = f"{folder.parent.name}/{folder.name}"
    if not of_model:
        where = f"{folder.parent.parent.parent.name}/{folder.parent.parent.name}/{where}"
    beside = [name for name in BESIDE if of_model and name not in files and (folder / name).is_file()]
    for name in (RECORD, *files, *beside):
        yield f"{where}/{name}", folder / name


def packed(item: Item, record: Mapping[str, Any]) -> dict[str, int]:
    """The files of a record that an export holds, with their sizes: of a model all but weights."""
    files: Mapping[str, int] = record["files"]
    return {name: size for name, size in files.items() if not (isinstance(item, Subject) and name.startswith(WEIGHTS))}


def portable_plan(sweep: Sweep) -> bytes:
    """A sweep's plan without paths of this machine."""
    content = parse_line((sweep.folder / PLAN).read_text(encoding="utf-8"))
    runs = [{**run, "points": [portable(point) for point in run["points"]]} for run in content["runs"]]
    return json.dumps({**content, "runs": runs, "spec": _without_paths(content["spec"])}, ensure_ascii=False).encode()


def _without_paths(value: Any) -> Any:
    """A value in which no key that names a path names one of this machine."""
    if isinstance(value, Mapping):
        emptied = {key: "" for key, one in value.items() if key.endswith("path") and str(one).startswith(("/", "~"))}
        return {key: _without_paths(one) for key, one in value.items()} | emptied
    return [_without_paths(one) for one in value] if isinstance(value, list) else value


def portable_overrides(sweep: Sweep) -> bytes:
    """The command lines of a sweep's points, without where its store lies; empty where they are not known."""
    return "".join(f"{point}\n" for point in points(sweep.folder)).encode()
