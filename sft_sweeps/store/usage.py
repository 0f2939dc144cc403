"""Where a store's disk went: one walk over its folders, and the text of each sweep's plan.

Sizes are what files and folders take of the disk (blocks, as `du` counts them), not their lengths. A file of several
names is counted once. Links are not followed. Reading changes nothing, and what goes away meanwhile is passed over.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sft_sweeps.files import private
from sft_sweeps.files.encoded import ENCODED
from sft_sweeps.identity import ID_LENGTH
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.store.resume_states import FOLDER as RESUME
from sft_sweeps.store.sweeps import PLAN

BLOCK = 512  # bytes, in which POSIX counts what a file takes
IDS = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")
SUBJECTS = {"stages": "stages' models", "models": "base models"}  # folders of subjects, and what their weights are
ANSWERS = ("generations", "scores", "representations")
ADAPTERS = "adapters"
RESUMES, ANSWERED, LOGS, NOTES = "resume states", "answers and scores", "logs", "records and curves"
SOURCES, CODE, SWEEPS, LEFT, OTHER = "encoded sources", "code of sweeps", "sweeps", "unfinished writing", "other"
TRACKERS, SHOWN = ("wandb", "trackio", "tensorboard"), "trackers' files"  # folders in a stage's, or beside the stages


@dataclass
class Size:
    """Bytes on the disk, and the number of files."""

    bytes: int = 0
    files: int = 0

    def add(self, other: "Size") -> None:
        self.bytes += other.bytes
        self.files += other.files


@dataclass
class Taken:
    """What one stage or base model takes: in all, and by what it is."""

    id: str
    name: str
    by_what: dict[str, Size] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(size.bytes for size in self.by_what.values())


@dataclass
class Usage:
    """A store's disk: `by_what` has every byte once, `subjects` stages and base models by id, `sweeps` their folders.

    `asked` are the ids that each sweep's plan names, None where it cannot be read; `unread` are folders that could not
    be looked into.
    """

    by_what: dict[str, Size] = field(default_factory=dict)
    subjects: dict[str, Taken] = field(default_factory=dict)
    sweeps: dict[str, Size] = field(default_factory=dict)
    asked: dict[str, frozenset[str] | None] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    @property
    def total(self) -> Size:
        total = Size()
        for size in self.by_what.values():
            total.add(size)
        return total

    def of_sweep(self, sweep: str) -> list[Taken]:
        """The stages and base models that a sweep asks for and that take room."""
        asked = self.asked[sweep] or frozenset()
        return [taken for key, taken in self.subjects.items() if key in asked]

    def alone(self, sweep: str) -> list[Taken]:
        """Those of them that no other sweep asks for."""
        others = [ids or frozenset() for name, ids in self.asked.items() if name != sweep]
        elsewhere = frozenset().union(*others)
        return [taken for taken in self.of_sweep(sweep) if taken.id not in elsewhere]

    def unasked(self) -> list[Taken]:
        """Those that no sweep's plan names."""
        asked = frozenset().union(*(ids or frozenset() for ids in self.asked.values()))
        return [taken for key, taken in self.subjects.items() if key not in asked]


def usage(root: Path) -> Usage:
    """Walk a store once."""
    return _Walk().store(root)


def sizes(paths: Iterable[Path]) -> list[Size]:
    """What each of some files and folders takes with all that is in it; a file of several names counts once."""
    walk = _Walk()
    return [walk.path(path) for path in paths]


class _Walk:
    """Remembers which files of several names were counted."""

    def __init__(self) -> None:
        self.found = Usage()
        self.seen: set[tuple[int, int]] = set()

    def store(self, root: Path) -> Usage:
        self.count(OTHER, self.own(root))
        for entry in self.entries(root):
            if entry.name in SUBJECTS and entry.is_dir(follow_symlinks=False):
                self.subjects(entry, SUBJECTS[entry.name])
            elif entry.name == "sweeps" and entry.is_dir(follow_symlinks=False):
                self.sweeps(entry)
            elif entry.name == ENCODED and entry.is_dir(follow_symlinks=False):
                self.count(SOURCES, self.entry(entry))
                for inside in self.entries(entry.path):  # hidden files are locks
                    hidden = inside.is_dir(follow_symlinks=False)
                    self.count(_left(inside.name, SOURCES) if hidden else SOURCES, self.tree(inside))
            else:
                what = SHOWN if entry.name in TRACKERS else OTHER
                self.count(_left(entry.name, what), self.tree(entry))
        return self.found

    def subjects(self, folder: os.DirEntry[str], weights: str) -> None:
        self.count(NOTES, self.entry(folder))
        for entry in self.entries(folder.path):
            if not entry.is_dir(follow_symlinks=False) or entry.name.startswith("."):
                self.count(_left(entry.name, OTHER), self.tree(entry))
                continue
            taken = Taken(entry.name[-ID_LENGTH:], entry.name)
            self.found.subjects[taken.id] = taken
            self.add(taken, NOTES, self.entry(entry))
            for inside in self.entries(entry.path):
                for what, size in self.parts(inside, weights):
                    self.add(taken, what, size)

    def parts(self, entry: os.DirEntry[str], weights: str) -> Iterator[tuple[str, Size]]:
        """A part of a subject's folder, and what it is; what is half written in `resume/` counts apart."""
        kinds = {"model": weights, ADAPTER: ADAPTERS, RESUME: RESUMES, "logs": LOGS}
        kinds |= dict.fromkeys(ANSWERS, ANSWERED) | dict.fromkeys(TRACKERS, SHOWN)
        what = _left(entry.name, kinds.get(entry.name, NOTES))
        if what != RESUMES or not entry.is_dir(follow_symlinks=False):
            yield what, self.tree(entry)
            return
        yield RESUMES, self.entry(entry)
        for inside in self.entries(entry.path):
            yield _left(inside.name, RESUMES), self.tree(inside)

    def sweeps(self, folder: os.DirEntry[str]) -> None:
        self.count(SWEEPS, self.entry(folder))
        for entry in self.entries(folder.path):
            size = self.entry(entry)
            self.count(SWEEPS, size)
            if not entry.is_dir(follow_symlinks=False):
                continue
            for inside in self.entries(entry.path):
                part = self.tree(inside)
                self.count(CODE if inside.name.partition("-")[0] == private.NAMES[0] else SWEEPS, part)
                size.add(part)
            if os.path.exists(plan := os.path.join(entry.path, PLAN)):
                self.found.sweeps[entry.name] = size
                self.found.asked[entry.name] = _ids(plan)

    def add(self, taken: Taken, what: str, size: Size) -> None:
        taken.by_what.setdefault(what, Size()).add(size)
        self.count(what, size)

    def count(self, what: str, size: Size) -> None:
        self.found.by_what.setdefault(what, Size()).add(size)

    def tree(self, entry: os.DirEntry[str]) -> Size:
        """An entry with all that is in it."""
        size = self.entry(entry)
        if entry.is_dir(follow_symlinks=False):
            size.add(self.inside(entry.path))
        return size

    def path(self, path: Path) -> Size:
        """The same of a path."""
        try:
            found = path.lstat()
        except OSError:
            return Size()
        size = self.size(found, is_folder := stat.S_ISDIR(found.st_mode))
        if is_folder:
            size.add(self.inside(str(path)))
        return size

    def inside(self, folder: str) -> Size:
        """All that is in a folder, without itself."""
        size, waiting = Size(), [folder]
        while waiting:
            for entry in self.entries(waiting.pop()):
                size.add(self.entry(entry))
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
        return size

    def entries(self, folder: str | Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as inside:
                return list(inside)
        except FileNotFoundError:
            return []
        except OSError:
            self.found.unread.append(str(folder))
            return []

    def entry(self, entry: os.DirEntry[str]) -> Size:
        """An entry alone."""
        try:
            return self.size(entry.stat(follow_symlinks=False), entry.is_dir(follow_symlinks=False))
        except OSError:
            return Size()

    def own(self, folder: Path) -> Size:
        return self.size(folder.stat(), True)

    def size(self, found: os.stat_result, is_folder: bool) -> Size:
        if not is_folder and found.st_nlink > 1:
            if (found.st_dev, found.st_ino) in self.seen:
                return Size()
            self.seen.add((found.st_dev, found.st_ino))
        return Size(found.st_blocks * BLOCK, int(not is_folder))


def _left(name: str, what: str) -> str:
    """What a folder is, unless its name is that of something which is being written, freed or was set aside."""
    return LEFT if name.startswith(".") else what


def _ids(plan: str) -> frozenset[str] | None:
    """Whatever looks like an id in the text of a plan: more than parsing it finds, and a hundred times as quick."""
    try:
        with open(plan, encoding="utf-8") as file:
            return frozenset(IDS.findall(file.read()))
    except (OSError, ValueError):
        return None
