"""What the sweeps of a store ask for and its living jobs work on, at one moment: the rest can go."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import ID_LENGTH, parents_of
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.retention import whole
from sft_sweeps.jobs.submissions import claimed_folders
from sft_sweeps.plan.build import Plan
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.spec.evaluation import Generation, Representations
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.claims import certain_holder
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import OVERRIDES, PLAN, Sweep
from sft_sweeps.store.usage import IDS, SUBJECTS

Item = Stage | Generation | Representations
HARMLESS = {OVERRIDES}  # all that a launch has written before its plan


@dataclass(frozen=True)
class SweepRead:
    """A sweep as it was read at that moment: its plan, and every id that the plan's text names."""

    sweep: Sweep
    plan: Plan
    asked: frozenset[str]


@dataclass(frozen=True)
class Needs:
    """`asked` are the ids that the sweeps' plans name, `alive` those of what a living job works on or from.

    `unclear` says why nobody knows what a living job works from; empty where that is known of all.
    """

    store: Store
    queue: Queue
    sweeps: Sequence[SweepRead]
    asked: frozenset[str]
    alive: frozenset[str]
    unclear: str = ""

    @cached_property
    def encodings(self) -> frozenset[str] | None:
        """The keys of the encoded sources that plans need; None where a tokenizer that says so is not here."""
        from sft_sweeps.jobs import encoding  # tokenizers and NumPy, which `gc --help` does without

        keys: set[str] = set()
        for sweep, plan in ((one.sweep, one.plan) for one in self.sweeps):
            items: list[Item] = [*plan.stages, *plan.generations, *plan.analyses]
            own = encoding.keys(items, self.store)
            if "" in own:
                states = survey(plan, sweep.store(self.store.root), self.queue, thorough=False).states
                open_ids = [one.id for one in plan.scores] + [one.id for one in plan.analyses]
                trained = all(states[one.id].trained for one in plan.derived)
                if not trained or any(states[key].state != "done" for key in open_ids):
                    return None
            keys |= own
        return frozenset(keys - {""})

    def works(self, sweep: Sweep) -> bool:
        """Whether a job that a sweep submitted may still run."""
        return any(
            not self.queue.reachable(job.owner) or submissions.alive(job, self.queue)
            for job in submissions.latest(sweep.folder).values()
        )


def read_needs(store: Store, queue: Queue | None = None) -> Needs:
    """All of it; RequestError where a sweep cannot be read, for nobody knows what it asks for."""
    queue, found = queue or Queue(), list(_readable_sweeps(store))
    asked = frozenset().union(*(one.asked for one in found))
    alive, unclear = _alive(store, queue, asked)
    return Needs(store, queue, found, asked, alive, unclear)


def unplanned(folder: Path) -> bool:
    """Whether a sweep's folder is one whose launch ended before it had written its plan."""
    try:
        inside = {name for name in os.listdir(folder) if not name.startswith(".")}
    except FileNotFoundError:  # deleted just now
        return True
    return inside <= HARMLESS


def _readable_sweeps(store: Store) -> Iterator[SweepRead]:
    root = store.root / "sweeps"
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
        planned = [folder for folder in folders if not folder.name.startswith(".") and not unplanned(folder)]
    except OSError as error:
        raise RequestError(f"nothing can go: {error.filename} cannot be read ({error.strerror})") from error
    for folder in planned:
        sweep, change = Sweep(folder), f"launch that sweep again, or delete {folder} if it is given up"
        try:
            text = (folder / PLAN).read_text(encoding="utf-8")
            if not whole(text):
                raise RequestError(f"{folder / PLAN} is cut off")
            read = SweepRead(sweep, sweep.plan(), frozenset(IDS.findall(text)))
        except FileNotFoundError:
            if unplanned(folder):
                continue
            raise RequestError(
                f"nothing can go: {folder} has no {PLAN}, so nobody knows what it needs; {change}"
            ) from None
        except (OSError, ValueError, RequestError) as error:
            said = str(error).partition(";")[0]
            raise RequestError(f"nothing can go, for nobody knows what a sweep needs: {said}; {change}") from error
        yield read


def _alive(store: Store, queue: Queue, asked: frozenset[str]) -> tuple[frozenset[str], str]:
    """Ids of the subjects that have a living claim and of all that these are made from, as far as it is known."""
    parents, alive, unclear = dict(_parents(store)), set(), ""
    for folder in subject_folders(store):
        if held(folder, queue):
            key = folder.name[-ID_LENGTH:]
            alive.add(key)
            if key not in parents and key not in asked and folder.parent.name == "stages":
                unclear = f"a job of a deleted sweep has not begun: {folder.name}"
    waiting = list(alive)
    while waiting:
        new = set(parents.get(waiting.pop(), ())) - alive
        alive |= new
        waiting += new
    return frozenset(alive), unclear


def _parents(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Each stage or merge that has begun, and what it is made from."""
    for folder in subject_folders(store, "stages"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            identity = read_json(folder / "identity.json")
            yield folder.name[-ID_LENGTH:], parents_of(identity)


def subject_folders(store: Store, *kinds: str) -> Iterator[Path]:
    """The folders of all stages and base models; not what is being removed."""
    for kind in kinds or SUBJECTS:
        root = store.root / kind
        yield from sorted(path for path in root.glob("[!.]*") if path.is_dir() and not path.is_symlink())


def held(folder: Path, queue: Queue) -> bool:
    """Whether somebody works in a subject's folder, or may be about to."""
    return any(certain_holder(path, queue) for path in claimed_folders(folder))
