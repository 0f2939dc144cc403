"""What of a store can go, each with the reason: nothing that a sweep's plan asks for or a living job needs.

A sweep that is deleted leaves what it trained as orphans. Judges' replies, and the records, answers, curves, logs and
reports of what a plan names, are never among what can go.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.files import private
from sft_sweeps.files.encoded import ENCODED
from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import ID_LENGTH
from sft_sweeps.jobs import retention
from sft_sweeps.jobs.needs import Needs, held, subject_folders, unplanned
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.freeing import ASIDE, MARK
from sft_sweeps.store.imports import IMPORTING
from sft_sweeps.store.resume_states import FOLDER as RESUME
from sft_sweeps.store.store import FREED, FREEING, RECORD
from sft_sweeps.store.usage import ANSWERS

BY = "freed by sft-sweeps gc"  # what freed.json says of a model that this command freed
MINUTES, DAY = 600.0, 86_400.0  # after which what is half written is of a process that died; encoding takes long
KINDS = {
    "unfinished": "what was being written, or removed, when its process died",
    "resume": "resume states of stages that are done",
    "models": "models that no sweep needs or keeps (store.retention)",
    "orphans": "stages and base models that no sweep's plan names",
    "code": "code snapshots of sweeps, but the newest of each",
    "encoded": "encoded sources that no sweep's plan needs",
}


@dataclass(frozen=True)
class Disposable:
    """One thing that can go. `age` is in seconds, `stage` the one (or the merge) whose model it is."""

    kind: str
    path: Path
    what: str
    why: str
    age: float
    stage: Stage | Merge | None = None

    @property
    def order(self) -> int:
        """The place of its kind among KINDS, in which things are shown."""
        return list(KINDS).index(self.kind)


def disposable(needs: Needs, only: Collection[str] = (), policy: str = "") -> tuple[list[Disposable], list[str]]:
    """What can go of some kinds (none named: of all), and notes on what cannot be judged now.

    `policy` is a retention to judge all sweeps by, in place of their own.
    """
    finders = {
        "unfinished": lambda: unfinished(needs),
        "resume": lambda: _resume(needs),
        "models": lambda: _models(needs, policy),
        "orphans": lambda: _orphans(needs),
        "code": lambda: _code(needs),
        "encoded": lambda: _encoded(needs),
    }
    chosen = [kind for kind in KINDS if not only or kind in only]
    items = [item for kind in chosen for item in finders[kind]()]
    notes = [note for kind, note in _notes(needs) if kind in chosen]
    gone = {item.path for item in items if item.kind == "orphans"}  # with all that is in it
    return [item for item in items if not gone & set(item.path.parents)], notes


def age(path: Path) -> float:
    """Seconds since something in a folder was made, removed or changed, one level deep; 0 where it is gone."""
    try:
        inside = list(path.iterdir()) if path.is_dir() and not path.is_symlink() else []
        return max(0.0, time.time() - max(one.lstat().st_mtime for one in (path, *inside)))
    except OSError:
        return 0.0


def _notes(needs: Needs) -> Iterator[tuple[str, str]]:
    if needs.unclear:
        yield "orphans", f"orphans stay while {needs.unclear}"
    if needs.alive:
        yield "encoded", "encoded sources stay while jobs work in this store"
    elif needs.encodings is None:
        yield "encoded", "encoded sources stay: a sweep that is not done needs some for a tokenizer that is not here"


def unfinished(needs: Needs) -> Iterator[Disposable]:
    """Hidden names that a killed process left, where nobody is at work."""
    root = needs.store.root
    why = "its writer died"
    for path in _hidden([root], IMPORTING):
        yield from _left(path, DAY, "its import died")
    for path in _hidden([root], f".{MARK}."):
        yield from _left(path, MINUTES, why)
    for path in _hidden([root / "stages", root / "models"]):
        yield from _left(path, MINUTES, why)
    for path in _hidden([root / ENCODED], ".writing-", ASIDE):
        yield from _left(path, DAY, why)
    for folder in subject_folders(needs.store):
        found = list(_hidden([folder, *_parts(folder)]))
        if found and not held(folder, needs.queue):
            for path in found:
                yield from _left(path, MINUTES, why)
    for folder in sorted((root / "sweeps").glob("[!.]*/")):
        if unplanned(folder):
            yield from _left(folder, MINUTES, "its launch died before the plan")
        for path in _hidden([folder, *_private(folder, "code"), *_private(folder, "jobs")]):
            yield from _left(path, MINUTES, why)


def _left(path: Path, least: float, why: str) -> Iterator[Disposable]:
    """It, where it is so old that nobody writes it any more; what was being removed needs no such age."""
    removing = path.name.startswith((ASIDE, FREEING))
    if removing or age(path) > least:
        why = "its removal was broken off" if removing else why
        yield Disposable("unfinished", path, path.name, why, DAY if removing else age(path))


def _hidden(folders: Sequence[Path], *begin: str) -> Iterator[Path]:
    """Hidden names, or those that begin so; NFS keeps open files under hidden names of its own."""
    for folder in folders:
        for path in sorted(folder.glob(".*")) if folder.is_dir() else ():
            if not path.name.startswith(".nfs") and (not begin or path.name.startswith(begin)):
                yield path


def _parts(folder: Path) -> Iterator[Path]:
    """The folders in a subject's in which something is written: its jobs', and that of each answer and score."""
    for path in folder.glob("[!.]*/"):
        if path.name not in ("model", "logs"):
            yield path
            yield from path.glob("[!.]*/") if path.name in ANSWERS else ()


def _private(folder: Path, name: str) -> list[Path]:
    return [path for path in private.folders(folder, name) if path.is_dir()]


def _resume(needs: Needs) -> Iterator[Disposable]:
    for folder in subject_folders(needs.store, "stages"):
        path = folder / RESUME
        if path.is_dir() and recorded(folder) and not held(folder, needs.queue):
            yield Disposable("resume", path, folder.name, "its stage is done", age(path))


def recorded(folder: Path) -> bool:
    """Whether a subject's work has a record that can be read."""
    try:
        return isinstance(read_json(folder / RECORD), dict)
    except (OSError, ValueError):
        return False


def _models(needs: Needs, policy: str) -> Iterator[Disposable]:
    """Of the stages that plans name, the models that these let go."""
    stages = {stage.id: stage for one in needs.sweeps for stage in one.plan.derived}
    here = [stage for stage in stages.values() if _has_model(needs, stage)]
    broken = {stage.id for stage in here if broken_off(needs.store.folder(stage))}
    free = {stage.id for stage in retention.unneeded(here, needs.store, policy)}
    going = (broken | free) - needs.alive
    for stage in here:
        folder = needs.store.folder(stage)
        if stage.id in going:
            why = "its removal was broken off" if stage.id in broken else "no sweep needs or keeps it"
            yield Disposable("models", folder / "model", folder.name, why, age(folder), stage)


def _has_model(needs: Needs, stage: Stage | Merge) -> bool:
    """Not one that is renamed away already: that is unfinished."""
    return (needs.store.folder(stage) / "model").is_dir() and retention.has_model(needs.store, stage)


def broken_off(folder: Path) -> bool:
    """Whether this command marked a model as freed and died before it was removed."""
    try:
        return (folder / "model").is_dir() and read_json(folder / FREED)["how"] == BY
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _orphans(needs: Needs) -> Iterator[Disposable]:
    if needs.unclear:
        return
    wanted = needs.asked | needs.alive
    for folder in subject_folders(needs.store):
        if folder.name[-ID_LENGTH:] not in wanted:
            done = "done" if recorded(folder) else "not done"
            yield Disposable("orphans", folder, folder.name, f"in no sweep's plan ({done})", age(folder))


def _code(needs: Needs) -> Iterator[Disposable]:
    """Of each sweep, the newest snapshot stays: it says what it was trained with. Of one at work, all stay."""
    for sweep in (one.sweep for one in needs.sweeps):
        taken = [path for folder in _private(sweep.folder, "code") for path in folder.glob("[!.]*/")]
        taken.sort(key=lambda path: path.stat().st_mtime)
        if taken[1:] and not needs.works(sweep):
            for path in taken[:-1]:
                what = f"{sweep.name}: {path.name}"
                yield Disposable("code", path, what, "its sweep has newer code", age(path))


def _encoded(needs: Needs) -> Iterator[Disposable]:
    """Jobs at work may be of a version of this package that encodes under other keys."""
    if needs.alive or needs.encodings is None:
        return
    for folder in sorted((needs.store.root / ENCODED).glob("[!.]*/")):
        if folder.name[-ID_LENGTH:] not in needs.encodings:
            yield Disposable("encoded", folder, folder.name, "in no sweep's plan", age(folder))
