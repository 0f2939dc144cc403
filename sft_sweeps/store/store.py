"""Folders and records: what is done, what is not, and why.

    OUTPUT_DIR/stages/<label>-<id>/   identity.json, claim-*.json, data.json, metrics.jsonl, resume/, model/, logs/,
                                      generations/, scores/, representations/, and last of all record.json; of a merge
                                      what of these it has
    OUTPUT_DIR/models/<label>-<id>/   the same for a base model
    OUTPUT_DIR/sweeps/<time>-<name>/  plan.json, overrides, report/

Done means a record that can be read, fits its identity and whose files are there; never an exit status. A record is
written last and at once. Reading creates nothing.

What is done in another store (`store.read_from`) counts as done here and is read there. Nothing is ever written there:
new generations and scores of a stage that lies elsewhere go into a folder of the stage in this store.
"""

import contextlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from sft_sweeps.errors import RequestError
from sft_sweeps.files import checksum
from sft_sweeps.files.folders import names
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.identity import ID_LENGTH, differences
from sft_sweeps.models import hub_cache
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.plan.build import Subject
from sft_sweeps.spec.evaluation import Generation, Representations, Score
from sft_sweeps.spec.training import Model, Stage

Item = Subject | Generation | Score | Representations

RECORD = "record.json"
FREED = "freed.json"  # beside the record: the model was, or is about to be, removed on purpose (retention)
FREEING = ".model.freed-"  # what a model is called while it is removed
SHOWN = 3  # differences in a message
VECTORS = "vectors.npy"  # of representations
WEIGHTS = ("model/", f"{ADAPTER}/")  # begin the names of the files with what was trained
LABEL_LENGTH = 160  # of a folder's name, which ends in the id; file systems allow 255 bytes


class RecordError(Exception):
    """A record exists and cannot be trusted; the text says why."""


class BrokenRecordError(RecordError):
    """A record whose text is broken off or garbled: nothing can be read from it, so it proves nothing about anything.

    Its work counts as not done. One that can be read and says something else may have been put there by somebody.
    """


def write_record(folder: Path, payload: Mapping[str, Any], files: Sequence[str], extra: Mapping[str, Any]) -> None:
    """The proof that a folder's work is done, with the sizes and checksums of the files that must stay."""
    sizes = {name: (folder / name).stat().st_size for name in files}
    checksums = {name: checksum.of_file(folder / name) for name in files}
    finished = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    record = {"payload": payload, "files": sizes, "checksums": checksums, "finished": finished, **extra}
    write_json(folder / RECORD, checksum.sealed(record))


def damaged_files(folder: Path, record: Mapping[str, Any], below: str | tuple[str, ...] = "") -> list[str]:
    """Files of a record that are not what was written; each is read whole. Only those whose names begin with `below`,
    or with one of several such.
    """
    checksums = record.get("checksums", {})  # there were none once
    return checksum.damaged(folder, {name: value for name, value in checksums.items() if name.startswith(below)})


def read_record(folder: Path, payload: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of finished work, None where there is none; RecordError where it cannot be trusted."""
    path = folder / RECORD
    try:
        record = read_json(path)
    except ValueError as error:
        raise BrokenRecordError(f"{path} cannot be read ({error})") from error
    except OSError as error:
        raise RecordError(f"{path} cannot be read ({error})") from error
    if record is None:
        return None
    if not _is_record(record):
        raise RecordError(f"{path} is not a record")
    if record["payload"] != payload:
        raise RecordError(f"{path} belongs to something else: {_shown(record['payload'], payload)}")
    return record


def _is_record(value: Any) -> TypeGuard[dict[str, Any]]:
    """Whether it has what every record has; those of old had no checksums."""
    if not isinstance(value, dict) or "payload" not in value:
        return False
    return isinstance(value.get("files"), dict) and isinstance(value.get("checksums", {}), dict)


def _shown(stored: Mapping[str, Any], payload: Mapping[str, Any]) -> str:
    changed = differences(stored, payload)
    more = f" and {len(changed) - SHOWN} more differences" if len(changed) > SHOWN else ""
    return f"{'; '.join(changed[:SHOWN])}{more}"


def lost_files(folder: Path, record: Mapping[str, Any]) -> list[str]:
    """Files of a record that are gone or have another size (scratch file systems purge without notice)."""
    lost = []
    for name, size in record["files"].items():
        try:
            if (folder / name).stat().st_size != size:
                lost.append(name)
        except OSError:
            lost.append(name)
    return lost


def lost_names(folder: Path, here: Collection[str], record: Mapping[str, Any]) -> list[str]:
    """The same by names alone, where several files lie in one folder: that is listed. `here` is what the folder holds.

    A list costs a shared file system one answer, the sizes one for each file.
    """
    lost = []
    for place, inside in places(record).items():
        if place == inside[0]:
            lost += lost_files(folder, {"files": {place: record["files"][place]}})
        else:
            found = names(folder / place) if place else here
            lost += [name for name in inside if os.path.basename(name) not in found]
    return lost


def places(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """What is asked about to find a record's files by name: folders to list, files that lie alone in theirs."""
    by_parent: dict[str, list[str]] = {}
    for name in record["files"]:
        by_parent.setdefault(os.path.dirname(name), []).append(name)
    return {inside[0] if parent and len(inside) == 1 else parent: inside for parent, inside in by_parent.items()}


class Store:
    """An output folder, and others that are only read. Reading creates nothing.

    `folder`, `generation`, `score` and `write_folder` are folders in this store, where work is done and written.
    `read_folder`, and with it `weights` and `tokenizer`, is where something is read: here, or in the first other store
    that has it done.
    """

    def __init__(self, root: Path | str, read_from: Sequence[Path | str] = ()) -> None:
        self.root = Path(root)
        self.others = tuple(Store(other) for other in read_from)
        self._folders: dict[str, dict[str, Path]] = {}

    @property
    def roots(self) -> list[Path]:
        """This store's folder, then those of the others."""
        return [self.root, *(other.root for other in self.others)]

    def folder(self, subject: Subject) -> Path:
        """Where a stage or base model is made: the folder that ends in its id, whatever its label was."""
        kind = place_of(subject)
        known = self._known(kind).get(subject.id)
        return known or self.root / kind / f"{subject.label[:LABEL_LENGTH]}-{subject.id}"

    def _known(self, kind: str) -> dict[str, Path]:
        """Folders by the id at the end of their names; listed once, for surveys of a thousand stages."""
        if kind not in self._folders:
            folders = {}
            with contextlib.suppress(OSError), os.scandir(self.root / kind) as entries:
                shown = (one for one in entries if not one.name.startswith(".") and one.is_dir())
                folders = {one.name[-ID_LENGTH:]: Path(one.path) for one in shown}
            self._folders[kind] = folders
        return self._folders[kind]

    def stage_folders(self) -> Collection[Path]:
        """The folders of all stages that there are in this store."""
        return self._known("stages").values()

    def weights(self, subject: Subject) -> Path:
        """The folder with a subject's weights in Hugging Face's format, whether they are there (yet) or not.

        Beside an adapter there are none where nobody asked for them: store/origins.py.
        """
        if isinstance(subject, Model) and subject.path:
            return Path(subject.path)
        if isinstance(subject, Model) and subject.weights.startswith(hub_cache.HUB):
            return hub_cache.folder_of(subject.weights)
        return self.read_folder(subject) / "model"

    def tokenizer(self, subject: Subject) -> Path:
        """The folder with the tokenizer that belongs to a subject."""
        if isinstance(subject, Model) and not subject.initialised and subject.tokenizer_path:
            return Path(subject.tokenizer_path)
        if isinstance(subject, Stage) and subject.recipe.adapter:
            return self.read_folder(subject) / ADAPTER  # which is there, whether the merged model is or not
        return self.weights(subject)

    def generation(self, generation: Generation) -> Path:
        """Where a generation is made, inside its subject's folder."""
        name = generation.benchmark.name.replace(":", "-")
        return self.folder(generation.subject) / "generations" / f"{name}-{generation.id}"

    def score(self, score: Score) -> Path:
        """Where a score is made, inside its subject's folder."""
        name = score.generation.benchmark.name.replace(":", "-")
        return self.folder(score.generation.subject) / "scores" / f"{name}-{score.id}"

    def representations(self, one: Representations) -> Path:
        """Where representations are made, inside their subject's folder."""
        return self.folder(one.subject) / "representations" / f"{one.queries.source.name}-{one.id}"

    def write_folder(self, item: Item) -> Path:
        """The folder in which anything that has a record is made."""
        if isinstance(item, Representations):
            return self.representations(item)
        if isinstance(item, Score):
            return self.score(item)
        return self.generation(item) if isinstance(item, Generation) else self.folder(item)

    def read_folder(self, item: Item) -> Path:
        """The folder in which it is read: in the first other store that has it done, if this one has not."""
        return (self.elsewhere(item) or self).write_folder(item)

    def record(self, item: Item) -> dict[str, Any] | None:
        """The valid record of finished work whose files are all there, else None; RecordError for another's here."""
        return (self.elsewhere(item) or self)._done(item)

    def elsewhere(self, item: Item) -> "Store | None":
        """The first other store that has done what this one has not; a bad record there counts as none."""
        try:
            missing = self.others and self._done(item) is None
        except RecordError:
            return None
        return next((store for store in self.others if store._offers(item)), None) if missing else None

    def _done(self, item: Item) -> dict[str, Any] | None:
        folder = self.write_folder(item)
        try:
            record = read_record(folder, item.payload)
        except BrokenRecordError:
            return None
        gone = isinstance(item, Subject) and not merges_again(item) and freed(folder)
        if record is None or gone or lost_files(folder, record):
            return None
        return record

    def _offers(self, item: Item) -> bool:
        """Whether this store of somebody else has an item done and lets its files be read."""
        generation = item.generation if isinstance(item, Score) else item
        subject = generation if isinstance(generation, Subject) else generation.subject
        if subject.id not in self._known(place_of(subject)):
            return False
        with contextlib.suppress(RecordError):
            record, folder = self._done(item), self.write_folder(item)
            return record is not None and all(os.access(folder / name, os.R_OK) for name in record["files"])
        return False


def merges_again(subject: Subject) -> bool:
    """Whether its model can be merged of its adapter at any time, so that one that was freed is no loss."""
    return isinstance(subject, Stage) and subject.recipe.adapter is not None


def place_of(subject: Subject) -> str:
    """The folder of a store in which a subject's lies."""
    return "models" if isinstance(subject, Model) else "stages"


def freed(folder: Path) -> str:
    """How and when the model of finished work came to be gone on purpose; empty when it did not."""
    try:
        marker = read_json(folder / FREED)
        return "" if marker is None else f"{marker.get('how') or _by_retention(marker)} on {marker['time']}"
    except (ValueError, OSError, KeyError, TypeError, AttributeError):
        return f"{FREED} cannot be read"


def _by_retention(marker: Mapping[str, Any]) -> str:
    return f"freed by the retention of {marker['sweep']}"


def check_identity(folder: Path, payload: Mapping[str, Any], *, write: bool = True) -> None:
    """Compare the payload with the one beside the work, since two of one id would be a mistake; `write` a first one."""
    path = folder / "identity.json"
    try:
        stored = read_json(path)
    except ValueError as error:
        raise RequestError(f"{path} cannot be read ({error}); move {folder} away and launch again") from error
    if stored is None:
        if write:
            write_json(path, payload)
    elif stored != payload:
        shown = "\n    ".join(differences(stored, payload))
        raise RequestError(f"{folder} holds another identity:\n    {shown}\nMove it away and launch again.")
