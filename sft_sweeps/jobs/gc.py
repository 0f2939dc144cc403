"""Frees what can go of a store, while launches and jobs go on.

What is to go is looked for, and again while the store's lock is held: what a launch has asked for in between stays. It
is renamed aside under the lock and removed afterwards; whoever finds such names later removes them. A model is marked
as freed first, so that its weights count as gone (jobs/retention.py).
"""

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.jobs import retention
from sft_sweeps.jobs.disposable import BY, Disposable, broken_off, disposable, recorded
from sft_sweeps.jobs.needs import Needs, read_needs
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims, freeing
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.store import FREED, FREEING, Store

NAME = "sft-sweeps gc"  # in claims and marks
WRITING = ("resume", "models")  # kinds that go under a claim, or behind a marker
LENIENT = "scores"  # the retention that lets most go
Progress = Callable[[Disposable], None]


@dataclass(frozen=True)
class Freed:
    """What came of one thing that was to go: `problem` is empty where it is gone, `kept` says that it is needed now."""

    item: Disposable
    problem: str = ""
    kept: bool = False


def free(store: Store, items: Sequence[Disposable], policy: str = "", done: Progress = lambda _: None) -> list[Freed]:
    """Free some of what can go, as far as it still can; `done` is told of each.

    First what goes without a line being written, then what takes a claim or a marker: the disk may be full.
    """
    first = [item for item in items if item.kind not in WRITING]
    parts = [part for part in (first, [item for item in items if item.kind in WRITING]) if part]
    results = [result for part in parts for result in _free(store, part, policy, done)]
    return sorted(results, key=lambda one: (one.item.order, one.item.path))


def _free(store: Store, items: Sequence[Disposable], policy: str, done: Progress) -> list[Freed]:
    wanted = {item.path for item in items}
    with freeing.alone(store.root):
        freeing.leave_mark(store.root, NAME)
        needs = read_needs(Store(store.root), Queue())
        now, _ = disposable(needs, {item.kind for item in items}, policy)
        still = [item for item in now if item.path in wanted]
        moved = [*_move_models([item for item in still if item.stage], needs, policy)]
        moved += [_move(item, needs) for item in still if not item.stage]
    left = wanted - {item.path for item in still}
    results = [Freed(item, kept=True) for item in items if item.path in left]
    for item, places, problem in moved:
        problem = problem or _remove(places)
        results.append(Freed(item, problem, kept=not places and not problem))
        done(item)
    return results


Moved = tuple[Disposable, list[Path], str]  # where it lies now, or why it could not be moved


def _move(item: Disposable, needs: Needs) -> Moved:
    """Rename a thing aside; a stage's resume states under a claim, so that no job starts in its folder meanwhile."""
    if item.path.name.startswith((freeing.ASIDE, FREEING)):
        return item, [item.path], ""
    folder = item.path.parent
    try:
        with _claimed(folder, needs.queue) if item.kind == "resume" else contextlib.nullcontext(True) as ours:
            if not ours or (item.kind == "resume" and not recorded(folder)):
                return item, [], ""
            return item, [freeing.put_aside(item.path)], ""
    except FileNotFoundError:
        return item, [], ""
    except OSError as error:
        return item, [], f"it cannot be moved ({error.strerror})"


@contextlib.contextmanager
def _claimed(folder: Path, queue: Queue) -> Iterator[bool]:
    """Whether the folder could be claimed, which it is meanwhile."""
    claim: Claim | None = claims.take(folder, NAME, queue=queue)
    try:
        yield claim is not None
    finally:
        if claim:
            claims.release(folder, claim)


def _move_models(items: Sequence[Disposable], needs: Needs, policy: str) -> Iterator[Moved]:
    """Mark, look again, rename; a mark that was left behind by this command is looked at like a new one."""
    stages = [item.stage for item in items if item.stage]
    broken = [stage for stage in stages if broken_off(needs.store.folder(stage))]
    fresh = [stage for stage in stages if stage not in broken]
    free_now = {stage.id for stage in retention.unneeded(broken, needs.store, LENIENT)}
    for stage in broken:
        if stage.id not in free_now:  # a launch has asked for it since: its weights are there again
            (needs.store.folder(stage) / FREED).unlink(missing_ok=True)
    for stage in broken:
        if stage.id in free_now:
            retention.rename_away(needs.store.folder(stage))
    problem = ""
    try:
        retention.put_away(fresh, needs.store, {"sweep": "", "how": BY}, policy)
    except OSError as error:
        problem = f"it cannot be moved ({error.strerror})"
    for item in items:
        yield item, _renamed(item.stage, needs.store), problem


def _renamed(stage: Stage | Merge | None, store: Store) -> list[Path]:
    return sorted(store.folder(stage).glob(f"{FREEING}*")) if stage else []


def _remove(places: Collection[Path]) -> str:
    """Remove what was renamed aside; what could not be removed, empty where all is gone."""
    problems: list[str] = []
    for path in places:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, onerror=lambda _, name, info: problems.append(f"{name} stays ({info[1]})"))
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    return problems[0] if problems else ""
