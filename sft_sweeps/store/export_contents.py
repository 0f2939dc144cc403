"""What an export holds, read whole before any of it is placed: it is of this version, undamaged, and its plan's."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files import archive
from sft_sweeps.files.archive import Member
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.identity import ID_LENGTH
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.serialize import from_json
from sft_sweeps.spec.evaluation import Generation, Representations, Score
from sft_sweeps.store.exports import BESIDE, FORMAT, VERSION, packed
from sft_sweeps.store.store import RECORD, Item, place_of
from sft_sweeps.store.sweeps import OVERRIDES, PLAN

PLAN_BYTES = 1 << 29
RECORD_BYTES = 1 << 24
INSIDE = {"generations": Generation, "scores": Score, "representations": Representations}
Progress = Callable[[int], None]
Places = Mapping[tuple[str, str], Item]


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
