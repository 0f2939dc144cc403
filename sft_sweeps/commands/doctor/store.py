"""What is damaged in a store: finished work, encoded sources, resume states.

Without `deep`, files are looked for and their sizes compared; with it, all of them are read and their checksums taken.
Nothing is changed. Folders in which somebody is at work are looked at as they are: a resume state appears whole.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_sweeps.commands.doctor import folder
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.errors import RunError
from sft_sweeps.files import checksum, encoded
from sft_sweeps.files.json_files import read_json
from sft_sweeps.models import weights
from sft_sweeps.store import resume_states
from sft_sweeps.store.store import RECORD, damaged_files, freed, lost_files

SHOWN = 3  # files in a line


def asked(request: DoctorRequest) -> Iterator[Finding]:
    """What the folder does, then what is in it; a store that nobody named may be yet to be made."""
    yield from folder.findings(request.output_dir)
    if request.output_dir.is_dir() or request.store_named:
        yield from findings(request.output_dir, request.deep)
    else:
        yield Finding("ok", "store", f"{request.output_dir} is not there yet: the first launch makes it")


def findings(root: Path, deep: bool) -> Iterator[Finding]:
    """A line for what is damaged, and one that counts what is whole."""
    if not root.is_dir():
        yield Finding("problem", "store", f"there is no folder {root}", "output_dir=FOLDER of a launch: --output-dir")
        return
    whole: Counter[str] = Counter()
    for record in sorted(path for kind in ("stages", "models") for path in (root / kind).glob(f"[!.]*/**/{RECORD}")):
        yield from _counted(whole, "record", _record(record.parent, deep))
    for state in sorted(root.glob(f"stages/*/{resume_states.FOLDER}/step-*")):
        yield from _counted(whole, "resume state", _state(state, deep))
    for account in sorted(root.glob(f"{encoded.ENCODED}/[!.]*/{encoded.ACCOUNT}")):  # not what was set aside
        yield from _counted(whole, "encoded source", _encoded(account.parent, deep))
    counts = ", ".join(f"{count} {what}{'s' * (count != 1)}" for what, count in whole.items()) or "nothing"
    seen = "read and what was written" if deep else "there, with their sizes; --deep reads them"
    yield Finding("ok", "store", f"{counts} whole: the files are {seen}")


def _counted(whole: Counter[str], what: str, found: Iterator[Finding]) -> Iterator[Finding]:
    problems = list(found)
    whole[what] += not any(finding.level == "problem" for finding in problems)
    yield from problems


def _record(folder: Path, deep: bool) -> Iterator[Finding]:
    change = f"delete {folder / RECORD} and launch again: it is made anew"
    try:
        record = read_json(folder / RECORD)
        if deep and not checksum.is_whole(record):
            raise ValueError("it changed since it was written")
        lost = [] if freed(folder) else lost_files(folder, record)
        damaged = damaged_files(folder, record) if deep and not lost and not freed(folder) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield Finding("problem", "record", f"{folder / RECORD} cannot be read ({error})", change)
        return
    if lost:
        yield Finding("problem", "lost", f"{folder}: {_names(lost)} missing or of another size", change)
    elif damaged:
        yield Finding("problem", "damaged", f"{folder}: {_names(damaged)} changed since it was written", change)
    elif deep and not freed(folder):
        yield from _old(folder, record, change)


def _old(folder: Path, record: dict[str, Any], change: str) -> Iterator[Finding]:
    """Of a record from before there were checksums: a model has a digest."""
    if "checksums" in record:
        return
    if not record.get("digest"):
        yield Finding("warning", "no checksums", f"{folder} was written before there were any")
        return
    try:
        same = weights.digest(folder / "model") == record["digest"]
    except (RunError, OSError) as error:
        yield Finding("problem", "damaged", str(error), change)
        return
    if not same:
        yield Finding("problem", "damaged", f"{folder}/model holds other weights than were written", change)


def _state(path: Path, deep: bool) -> Iterator[Finding]:
    state, problem = resume_states.read(path)
    if state and deep:
        damaged = resume_states.damaged(path, state)
        problem = f"{_names(damaged)} changed since it was written" if damaged else ""
    if problem:
        yield Finding("problem", "resume state", f"{path}: {problem}", "nothing: the one before is continued from")


def _encoded(folder: Path, deep: bool) -> Iterator[Finding]:
    if deep and (damaged := encoded.damaged(folder)):
        text = f"{folder}: {_names(damaged)} changed since it was written"
        yield Finding("problem", "encoded source", text, "nothing: the next job that needs it encodes it anew")


def _names(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if names[SHOWN:] else "")
