"""Takes an export into a store, all of it or nothing: checked whole before anything is written, then placed by renames.

A model's folder comes without weights, and `freed.json` says so: its state is `weights gone`, and a launch that needs
the weights trains it here. What is here already stays as it is; what contradicts it is refused by name. The sweep's
plan is placed last, under the lock under which `gc` looks, so that nothing of it is taken for an orphan.
"""

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files import archive
from sft_sweeps.files.archive import Archive, Member
from sft_sweeps.files.folders import nearest_existing
from sft_sweeps.files.json_files import parse_line, write_json
from sft_sweeps.identity import ID_LENGTH
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.plan.build import Plan, Subject
from sft_sweeps.plan.serialize import from_json
from sft_sweeps.spec.evaluation import Generation, Representations, Score
from sft_sweeps.store import freeing, sharing
from sft_sweeps.store.claims import holder
from sft_sweeps.store.exports import BESIDE, FORMAT, VERSION, packed, portable_plan
from sft_sweeps.store.resume_states import FOLDER as RESUME
from sft_sweeps.store.store import FREED, RECORD, Item, RecordError, Store, place_of, read_record
from sft_sweeps.store.sweeps import OVERRIDES, PLAN, Sweep
from sft_sweeps.terminal import size

IMPORTING = ".import-"  # begins the name of the folder that it is unpacked into
HOW = "imported without its weights"
PLAN_BYTES = 1 << 29
RECORD_BYTES = 1 << 24
ROOM = 1.1  # of what is unpacked, that must be free
INSIDE = {"generations": Generation, "scores": Score, "representations": Representations}
Progress = Callable[[int], None]


@dataclass
class Unit:
    """What is placed at once: the files of one model, or of one generation, score or representations."""

    item: Item
    members: list[Member]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """In the archive."""
        return self.members[0].path.rpartition("/")[0]


@dataclass
class Contents:
    """What an archive was found to hold: the plan of a sweep, and what is done of it."""

    sweep: str
    plan: Plan
    head: list[Member]  # the plan's file, and the overrides'
    units: list[Unit]
    digest: str  # of the plan's file

    @property
    def bytes(self) -> int:
        return sum(member.size for unit in self.units for member in unit.members) + sum(one.size for one in self.head)


@dataclass
class Imported:
    """What came of it: the units that are new here, those that were here already, whether the sweep was."""

    sweep: str
    new: list[Unit]
    kept: list[Unit]
    sweep_is_new: bool


def check(path: Path, progress: Progress = lambda _: None) -> Contents:
    """Read an archive whole and write nothing; RequestError for whatever is no export of this version, or damaged."""
    with archive.opened(path) as opened:
        _check_version(opened.about, path)
        sweep = str(opened.about.get("sweep", ""))
        kept: dict[str, bytes] = {}
        units: dict[str, Unit] = {}
        plan: Plan | None = None
        head = [f"sweeps/{sweep}/{PLAN}", f"sweeps/{sweep}/{OVERRIDES}"]
        if not opened.members or opened.members[0].path != head[0]:
            raise RequestError(f"{path} is refused: it does not begin with the plan of its sweep, {sweep[:100]!r}")
        for member, blocks in opened.contents():
            known = member.path in head or member.path.endswith(f"/{RECORD}")
            kept |= {member.path: _whole(member, blocks, path)} if known else {}
            progress(member.size)
            if member.path == head[0]:
                plan = _plan(kept[member.path], path)
                places = _places(plan)
            elif member.path != head[1]:
                _add(units, member, places, path)
        assert plan is not None
        for unit in units.values():
            unit.record = _record(unit, kept, path)
        first = [member for member in opened.members if member.path in head]
        return Contents(sweep, plan, first, list(units.values()), first[0].sha256)


def _check_version(about: Mapping[str, Any], path: Path) -> None:
    if about.get("format") != FORMAT:
        raise RequestError(f"{path} is refused: it is no export of sft-sweeps")
    if about.get("version") != VERSION:
        made, found = str(about.get("made_by"))[:40], str(about.get("version"))[:20]
        raise RequestError(
            f"{path} is refused: an export of form {found}, made by sft-sweeps {made}; this one reads form {VERSION}. "
            "Update the older of the two and export again"
        )


def _whole(member: Member, blocks: Iterator[bytes], path: Path) -> bytes:
    most = PLAN_BYTES if member.path.endswith(PLAN) else RECORD_BYTES
    if member.size > most:
        raise RequestError(f"{path} is refused: {member.path} of {member.size:,} bytes is none of ours")
    return b"".join(blocks)


def _plan(text: bytes, path: Path) -> Plan:
    try:
        return from_json(parse_line(text, strict=True))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise RequestError(f"{path} is refused: its plan cannot be read by this version ({reason})") from error


Places = Mapping[tuple[str, str], Item]


def _places(plan: Plan) -> Places:
    """What may lie where: (stages, id) of models, (id of the model, id) of what is made with it."""
    places: dict[tuple[str, str], Item] = {}
    for subject in plan.subjects:
        places[place_of(subject), subject.id] = subject
    for generation in plan.generations:
        places[generation.subject.id, generation.id] = generation
    for one in plan.analyses:
        places[one.subject.id, one.id] = one
    for score in plan.scores:
        places[score.generation.subject.id, score.id] = score
    return places


def _add(units: dict[str, Unit], member: Member, places: Places, path: Path) -> None:
    """Sort a member into what it belongs to; RequestError for one that belongs to nothing of the plan."""
    parts = member.path.split("/")
    item: Item | None = places.get((parts[0], parts[1][-ID_LENGTH:])) if len(parts) > 2 else None
    allowed = len(parts) == 3 and parts[2] in (RECORD, *BESIDE)
    if item is not None and len(parts) == 5:
        item = places.get((item.id, parts[3][-ID_LENGTH:])) if parts[2] in INSIDE else None
        allowed = isinstance(item, INSIDE.get(parts[2], ()))
    if item is None or not allowed or any(part.startswith(".") for part in parts):
        raise RequestError(f"{path} is refused: {member.path[:200]} is nothing that its plan names")
    folder = member.path.rpartition("/")[0]
    unit = units.setdefault(item.id, Unit(item, []))
    unit.members.append(member)
    if unit.folder != folder:
        raise RequestError(f"{path} is refused: it holds {item.id} twice, in {unit.folder} and {folder}")


def _record(unit: Unit, kept: Mapping[str, bytes], path: Path) -> Mapping[str, Any]:
    """A unit's record, which must be of what its plan says and of the files that are there."""
    name = f"{unit.folder}/{RECORD}"
    try:
        record = parse_line(kept[name])
        whole = record["payload"] == unit.item.payload
        sizes = {member.path.rpartition("/")[2]: member.size for member in unit.members}
        whole = whole and packed(unit.item, record).items() <= sizes.items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise RequestError(f"{path} is refused: {name} is no record of what the plan says there")
    return dict(record)


def arrivals(contents: Contents, store: Store) -> Imported:
    """What of it is new here; RequestError with all that contradicts what is here."""
    new: list[Unit] = []
    kept: list[Unit] = []
    problems: list[str] = []
    for unit in contents.units:
        found = _standing(unit, store)
        if isinstance(found, str):
            problems.append(found)
        else:
            (kept if found else new).append(unit)
    folder = store.root / "sweeps" / contents.sweep
    sweep_is_new = not (folder / PLAN).exists()
    if not sweep_is_new and not _same_plan(Sweep(folder), contents.digest):
        problems.append(f"sweep {contents.sweep} is here with another plan")
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise RequestError(f"{problems[0]}{more}. Nothing was imported; another store takes it: --output-dir FOLDER")
    return Imported(contents.sweep, new, kept, sweep_is_new)


def _same_plan(sweep: Sweep, digest: str) -> bool:
    try:
        return hashlib.sha256(portable_plan(sweep)).hexdigest() == digest
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _standing(unit: Unit, store: Store) -> bool | str:
    """Whether a unit is here already, or what of it contradicts what is here."""
    folder, item = store.write_folder(unit.item), unit.item
    what = f"{_name(item)} ({item.id})"
    try:
        record = read_record(folder, item.payload)
    except RecordError as error:
        return f"{error}; sft-sweeps doctor store says more"
    if record is not None:
        return True if _alike(record, unit.record) else f"{what} is here with another result: scores of both would mix"
    if not folder.is_dir():
        return False
    begun = [name for name in ("model", ADAPTER, RESUME, *(member.path.rpartition("/")[2] for member in unit.members))
             if (folder / name).exists() and not _same(folder / name, unit)]  # fmt: skip
    if holder(folder):
        return f"{what} is being made here; import afterwards"
    return f"{what} is begun here and not finished ({begun[0]} is there)" if begun else False


def _name(item: Item) -> str:
    if isinstance(item, Subject):
        return item.label
    if isinstance(item, Representations):
        return f"representations of {item.subject.label}"
    generation = item.generation if isinstance(item, Score) else item
    what = "the score" if isinstance(item, Score) else "the answers"
    return f"{what} of {generation.subject.label} on {generation.benchmark.name}"


def _alike(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two records are of the same result: of a model its weights, else its files and what it says."""
    if ours.get("digest") or theirs.get("digest"):
        return bool(ours.get("digest") == theirs.get("digest"))
    keys = ("files", "checksums", "score")
    return [ours.get(key) for key in keys] == [theirs.get(key) for key in keys]


def _same(path: Path, unit: Unit) -> bool:
    """Whether a file is what the unit has of that name: placed by an import that was killed."""
    member = next((one for one in unit.members if one.path.endswith(f"/{path.name}")), None)
    return member is not None and path.is_file() and archive.member_of(member.path, path) == member


def take(path: Path, contents: Contents, store: Store, progress: Progress = lambda _: None) -> Imported:
    """Unpack and place what is new; RequestError, with nothing placed, where it cannot be."""
    found = arrivals(contents, store)
    if not found.new and not found.sweep_is_new:
        return found
    _check_room(found, store.root)
    store.root.mkdir(parents=True, exist_ok=True)
    staging = store.root / f"{IMPORTING}{uuid.uuid4().hex[:8]}"
    try:
        with archive.opened(path) as opened:
            _unpack(opened, contents, found, staging, progress)
        with freeing.alone(store.root):
            fresh = Store(store.root)
            if _ids(arrivals(contents, fresh).new) != _ids(found.new):
                raise RequestError("the store changed meanwhile; import again")
            for unit in found.new:
                _place(unit, staging, fresh)
            _place_sweep(contents, staging, fresh)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return found


def _ids(units: Iterable[Unit]) -> list[str]:
    return [unit.item.id for unit in units]


def _check_room(found: Imported, root: Path) -> None:
    needed = ROOM * sum(member.size for unit in found.new for member in unit.members)
    free = shutil.disk_usage(nearest_existing(root)).free
    if needed > free:
        raise RequestError(
            f"it unpacks to {size(int(needed))}, and {root} has {size(free)} free; make room (sft-sweeps du says where "
            "it went), or choose another: --output-dir FOLDER"
        )


def _unpack(opened: Archive, contents: Contents, found: Imported, staging: Path, progress: Progress) -> None:
    wanted = {member for unit in found.new for member in unit.members} | set(contents.head)
    for member, blocks in opened.contents():
        target = staging / member.path
        if member in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                for block in blocks:
                    file.write(block)
        progress(member.size)


def _place(unit: Unit, staging: Path, store: Store) -> None:
    """Rename a unit's files to where they belong, the record last: it is done from then on."""
    source, target = staging / unit.folder, store.write_folder(unit.item)
    if isinstance(unit.item, Subject):
        marker = {"how": HOW, "sweep": "", "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        write_json(source / FREED, marker)
    target.mkdir(parents=True, exist_ok=True)
    names = [FREED] if isinstance(unit.item, Subject) else []
    names += [member.path.rpartition("/")[2] for member in unit.members]
    for name in sorted(names, key=lambda name: (name == RECORD, name != FREED)):
        os.replace(source / name, target / name)


def _place_sweep(contents: Contents, staging: Path, store: Store) -> None:
    """The plan last: from then on there is a sweep."""
    folder = store.root / "sweeps" / contents.sweep
    folder.mkdir(parents=True, exist_ok=True)
    sharing.keep_names(folder.parent)
    sharing.keep_names(folder)
    for member in reversed(contents.head):
        target = folder / member.path.rpartition("/")[2]
        if not target.exists():
            os.replace(staging / member.path, target)
