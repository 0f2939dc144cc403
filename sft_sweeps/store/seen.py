"""What was found of a sweep's finished work, kept in `seen.json` beside its plan: the next look reads that one file.

It is to the store what Git's index is to a working tree. A look at a stage asks the file system about a few paths;
what it found is kept with the signature that each of them had (inode, size, times), taken before it was read. It counts
again for as long as every signature is the same, which costs a question for each path and reads nothing. Whatever is
made, renamed, removed or written, by whomever, changes the signature of a file or of the folder that it lies in, so
that a stage that was freed, deleted, damaged or made again is looked at as if nothing were kept. (`attempts.jsonl`
alone is trusted by its folder: who writes to it takes a claim there first.)

A file that is changed twice within one tick of its file system's clock may look the same afterwards (to Git it is
racily clean). So nothing is kept whose newest time is not older than the look by `SETTLED_SECONDS`, told by that same
clock.

Only the final is kept: what is done, and models that were freed. A file that is missing, cut off or of another form is
no index, and is written anew; who may not write it does without. Of two who write at once the last one stays; both
are true.
"""

import contextlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_sweeps.files import checksum
from sft_sweeps.files.json_files import content, parse_line, write_text

FILE = "seen.json"
FORM = 1
SETTLED_SECONDS = 2.0  # the coarsest time stamps that there are: FAT's
WORTH = 20  # the file is written again for a twentieth of the subjects
Signature = list[int] | None
UNKNOWN: Signature = []  # of what the file system gives no answer about; equal to nothing that is kept


@dataclass
class Entry:
    """What was found of one subject and of what is made with it: states and records by id, names in its folder.

    `paths` has the signature of each path, relative to the folder, that this rests on; `more` what others add to it.
    """

    folder: str
    names: list[str] = field(default_factory=list)
    paths: dict[str, Signature] = field(default_factory=dict)
    states: dict[str, list[str]] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def holds(self, folder: str) -> bool:
        """Whether it is of this folder, and all that it rests on is as it was."""
        if self.folder != os.path.basename(folder):
            return False
        return all(signature(os.path.join(folder, path)) == seen for path, seen in self.paths.items())

    def settled(self, before: int) -> bool:
        """Whether the last change of all that it rests on was before a time, in nanoseconds."""
        return all(seen is None or (seen != UNKNOWN and max(seen[-2:]) < before) for seen in self.paths.values())


def signature(path: str) -> Signature:
    """What a change of a file, or of the names in a folder, changes; None where there is nothing."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return UNKNOWN
    return [found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


class Seen:
    """The index of one sweep's folder for one look; without a folder it knows nothing and keeps nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._began = time.monotonic(), time.time()
        self._kept = dict(_read(folder / FILE)) if folder else {}
        self._checked: dict[str, Entry | None] = {}
        self._asked: dict[str, dict[str, Signature]] = {}  # by subject and path, in this look
        self._new: dict[str, Entry] = {}

    def __contains__(self, subject: str) -> bool:
        """Whether anything is kept of a subject, true or not any more."""
        return subject in self._kept

    def entry(self, subject: str, folder: Path) -> Entry | None:
        """What is kept of a subject, by its id, whose folder that is; None where it is not so any more."""
        if subject not in self._checked:
            kept = self._kept.get(subject)
            self._checked[subject] = kept if kept and kept.holds(str(folder)) else None
        return self._checked[subject]

    def sign(self, subject: str, folder: Path, path: Path) -> None:
        """A look at a subject is about to ask of a path in its folder: what it finds will rest on that."""
        asked = self._asked.setdefault(subject, {})
        inside = os.path.relpath(path, folder)
        if inside not in asked:
            asked[inside] = signature(str(path))

    def keep(self, subject: str, entry: Entry) -> None:
        """Keep what was found of a subject, with what is kept of it already."""
        if known := self._checked.get(subject):
            entry.states, entry.records = known.states | entry.states, known.records | entry.records
            entry.paths, entry.more = dict(known.paths), known.more
        entry.paths = self._asked.get(subject, {}) | entry.paths
        self._new[subject] = entry

    def remembered(self, subject: str, what: str, find: Callable[[], Any]) -> Any:
        """What follows from a subject's finished folder, found out once; a value that JSON can hold."""
        entry = self._new.get(subject) or self._checked.get(subject)
        if entry is None:
            return find()
        if what not in entry.more:
            entry.more[what] = find()
            self._new[subject] = entry
        return entry.more[what]

    def save(self, *, anything: bool = False) -> None:
        """Write the index where this look found enough, or `anything`, that is not in it; silent where it cannot."""
        whole = {key: entry for key, entry in self._kept.items() if self._checked.get(key)} | self._new
        few = len(self._new) * WORTH < len(whole) and not anything
        if self.folder is None or few or not self._new:
            return
        with contextlib.suppress(OSError):
            before = _now(self.folder) - self._took() - int(SETTLED_SECONDS * 1e9)
            subjects = {key: vars(entry) for key, entry in whole.items() if entry.settled(before)}
            body = json.dumps(subjects)
            head = {"form": FORM, checksum.KEY: checksum.of_bytes(body.encode())}
            write_text(self.folder / FILE, f"{json.dumps(head)}\n{body}\n", durable=False)

    def _took(self) -> int:
        """Nanoseconds since this look began, on the clock that says more: one stands still while a machine sleeps."""
        return int(max(time.monotonic() - self._began[0], time.time() - self._began[1]) * 1e9)


def _now(folder: Path) -> int:
    """The time of the file system that a folder lies on, in nanoseconds: that of a new file."""
    probe = folder / f".{FILE}.{uuid.uuid4().hex[:8]}"
    number = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        return os.fstat(number).st_mtime_ns
    finally:
        os.close(number)
        os.unlink(probe)


def _read(path: Path) -> Iterator[tuple[str, Entry]]:
    """What a file holds; nothing of one that is not whole."""
    try:
        head, _, body = content(path).decode("utf-8").partition("\n")
        about, body = parse_line(head), body.removesuffix("\n")
        if about != {"form": FORM, checksum.KEY: checksum.of_bytes(body.encode())}:
            return
        subjects: Mapping[str, Mapping[str, Any]] = parse_line(body)
        entries = {key: Entry(**kept) for key, kept in subjects.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return
    yield from entries.items()
