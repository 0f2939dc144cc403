"""Sweep folders: the frozen plan of a launch, found again by `status`, `report` and the next launch.

A sweep is known by what it asks for, its runs and scores: launching the same again continues the same folder.
"""

import contextlib
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.files.json_files import parse_line, read_json, write_json
from sft_sweeps.identity import digest
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.plan.serialize import from_json, part, to_json
from sft_sweeps.store import freeing, sharing
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import LAUNCH

PLAN = "plan.json"
OVERRIDES = "overrides.txt"  # the command line of each point
ABSOLUTE = re.compile(r"(^|=|,|\[)(?:~|/)[^\s,\]]*/")  # the folder of a file that a point names
NOT_TO_REPEAT = ("output_dir=",)  # where a store lies is this machine's
STORES = "stores.json"
KEY_LENGTH = 6
SHOWN = 12  # names of sweeps in a message


@dataclass(frozen=True)
class Sweep:
    """A launch: its folder under sweeps/, named by time, name and what it asks for."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def short_name(self) -> str:
        """`quickstart` of `20261129-011623-quickstart-565f87`: what stands between the time and the key."""
        return "-".join(self.name.split("-")[2:-1]) or self.name

    def plan(self, below: Collection[str] = ()) -> Plan:
        """The frozen plan, or what follows in it from some stages, by their ids; RequestError where it cannot be read.

        The whole is read once as long as its file stays the same.
        """
        try:
            if below:
                return from_json(part(self._content(), below))
            status = (self.folder / PLAN).stat()
            return _whole(self, status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError as error:
            raise RequestError(f"{self.folder / PLAN} cannot be read ({error}); launch the sweep again") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = str(error).partition("\n")[0]
            raise RequestError(f"{self.folder / PLAN} cannot be read ({reason}); launch the sweep again") from error

    @property
    def readable(self) -> bool:
        """Whether its plan can be read."""
        with contextlib.suppress(RequestError):
            return bool(self.plan())
        return False

    @property
    def question(self) -> str:
        """The study's question; empty without a study."""
        return str(self._content().get("question", ""))

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """What the study said in advance, as it was when the sweep was launched first."""
        return self.plan().hypotheses

    @property
    def read_from(self) -> tuple[str, ...]:
        """The other stores that the last launch read from."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return tuple(map(str, (read_json(self.folder / STORES) or {"read_from": ()})["read_from"]))
        return ()

    def store(self, root: Path | str) -> Store:
        """The store at `root` with the others that the sweep reads from."""
        return Store(root, self.read_from)

    def _content(self) -> dict[str, Any]:
        try:
            return dict(parse_line((self.folder / PLAN).read_text(encoding="utf-8"), strict=True))
        except (OSError, ValueError, TypeError) as error:
            raise RequestError(f"{self.folder / PLAN} cannot be read ({error}); launch the sweep again") from error


@lru_cache(maxsize=1)
def _whole(sweep: Sweep, *_: int) -> Plan:
    """The plan of a sweep, whose file has that time, size and number."""
    return from_json(sweep._content())


def freeze(plan: Plan, store: Store, name: str, question: str, points: Sequence[str]) -> Sweep:
    """The sweep's folder with its frozen plan: the one of an earlier, equal launch, or a new one."""
    (store.root / "sweeps").mkdir(parents=True, exist_ok=True)
    with freeing.alone(store.root):
        sweep = _frozen(plan, store, name, question, points)
    others = [str(other.root.absolute()) for other in store.others]
    if others != list(sweep.read_from):
        write_json(sweep.folder / STORES, {"read_from": others})
    return sweep


def _frozen(plan: Plan, store: Store, name: str, question: str, points: Sequence[str]) -> Sweep:
    folder = store.root / "sweeps" / f"{time.strftime('%Y%m%d-%H%M%S')}-{name or 'sweep'}-{_key(plan)}"
    for sweep in launched(plan, store):
        if sweep.readable:
            return sweep
        folder = sweep.folder  # its plan is written anew
    folder.mkdir(parents=True, exist_ok=True)
    sharing.keep_names(folder.parent)
    sharing.keep_names(folder)
    (folder / OVERRIDES).write_text("".join(f"{point}\n" for point in points), encoding="utf-8")
    write_json(folder / PLAN, {**to_json(plan, {}), "question": question}, compact=True)
    return Sweep(folder)


def launched(plan: Plan, store: Store) -> list[Sweep]:
    """The sweeps that ask for the same as a plan, oldest first: one, where its plan can be read."""
    return [sweep for sweep in sweeps(store) if sweep.name.endswith(f"-{_key(plan)}")]


def _key(plan: Plan) -> str:
    asked = [sorted(run.id for run in plan.runs), sorted(score.id for score in plan.scores)]
    asked += [sorted(one.id for one in plan.analyses)] if plan.analyses else []
    return digest(asked)[:KEY_LENGTH]


def portable(point: str) -> str:
    """A point's overrides without what is only of the machine that ran it: the store, folders of the user's files.

    Of these the names are kept: `.../rows.jsonl`.
    """
    words = (word for word in point.split() if not word.startswith(NOT_TO_REPEAT))
    return " ".join(ABSOLUTE.sub(r"\1.../", word) for word in words)


def points(folder: Path) -> tuple[str, ...]:
    """The command lines of a sweep's points, portable; none where they are not known."""
    try:
        lines = (folder / OVERRIDES).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return ()
    return tuple(map(portable, lines))


def name_with_key(name: str) -> str:
    """`quickstart-565f87` of `20261129-011623-quickstart-565f87`: short, and no other sweep's."""
    return "-".join(name.split("-")[2:]) or name


def sweeps(store: Store) -> list[Sweep]:
    """All sweeps, oldest first."""
    return [Sweep(path.parent) for path in sorted((store.root / "sweeps").glob(f"*/{PLAN}"))]


def find(store: Store, name: str | None) -> Sweep:
    """The newest sweep, or the one whose folder's name holds `name`; RequestError names the ones there are."""
    known = sweeps(store)
    matching = [sweep for sweep in known if name is None or name in sweep.name]
    if matching:
        return matching[-1]
    if not known:
        raise RequestError(f"no sweep in {store.root}; start one with: {LAUNCH} study=quickstart")
    raise RequestError(f"no sweep '{name}' in {store.root}; there are: {named(known)}{_meant(name, known)}")


def named(some: Sequence[Sweep]) -> str:
    """The names of sweeps in a message: the newest, and how many others there are."""
    names = [sweep.name for sweep in some]
    more = f"{len(names) - SHOWN:,} more, " if len(names) > SHOWN else ""
    return more + ", ".join(names[-SHOWN:])


def _meant(name: str | None, known: Sequence[Sweep]) -> str:
    """The nearest name, by what a sweep is called for short."""
    return nearest(name or "", [sweep.short_name for sweep in known])
