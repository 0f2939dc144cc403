"""`python -m chaos --seed 1 --minutes 25`: exit status 0 when everything held, 1 when something did not, 2 refused."""

import argparse
import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import slurm_cluster

from chaos import caretaker, checks, room
from chaos.adversary import Adversary, schedule
from chaos.faults import ALL, LOCAL, Fault
from chaos.users import ANNA, BESIDE, ON_SLURM, User, undisturbed
from chaos.world import Log, World

EPOCHS = 12  # of every stage: some hundred steps
UNDISTURBED_SECONDS = 1800.0


def main(arguments: Sequence[str]) -> int:
    """Outside: enter the room. Inside: attack, finish, check."""
    options = _parser().parse_args(arguments)
    if not options.inside:
        return room.enter(arguments)
    room.leave_with_the_other_end()
    os.chdir(options.inside)
    tempdir = options.inside / "slurm"
    tempdir.mkdir()
    tempdir.chmod(0o755)
    slurm_cluster.tempfile.tempdir = str(tempdir)
    try:
        with _cluster(options.local) as cluster:
            return _attack(World(options.inside, cluster, Log(options.inside / "log.txt")), options)
    except KeyboardInterrupt:
        return 130
    except (pytest.skip.Exception, pytest.fail.Exception) as missing:
        print(f"{missing}; --local does without it")
        return room.REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the adversary's choices")
    parser.add_argument("--minutes", type=float, default=5.0, help="during which it attacks; finishing takes longer")
    parser.add_argument("--pace", type=float, default=5.0, help="seconds from fault to fault, in the mean")
    parser.add_argument("--local", action="store_true", help="without Slurm: both users launch on this machine")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of every stage")
    parser.add_argument("--kinds", nargs="*", default=(), help="of faults; the others do not happen")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser


@contextlib.contextmanager
def _cluster(local: bool) -> Iterator[slurm_cluster.Cluster | None]:
    with contextlib.nullcontext() if local else slurm_cluster.running(gpus=0) as cluster:
        yield cluster


def _attack(world: World, options: argparse.Namespace) -> int:
    faults = [one for one in (LOCAL if options.local else ALL) if not options.kinds or one.kind in options.kinds]
    world.mount()
    world.log.say(f"seed {options.seed}, {options.minutes:g} minutes, {len(faults)} kinds of faults; {world.folder}")
    quiet, leaving = threading.Event(), threading.Event()
    lines = (ANNA, BESIDE if options.local else ON_SLURM)
    users = [User(world, line, options.epochs, quiet, leaving) for line in lines]
    finished = checks.Finished(world, leaving)
    adversary = Adversary(world, schedule(options.seed, faults, options.pace), leaving)
    try:
        finished.watch()
        if world.cluster:
            threading.Thread(target=caretaker.work, args=(world, leaving), daemon=True).start()
        for user in users:
            user.thread.start()
        adversary.reign(options.minutes * 60)
        world.log.say("the adversary has ended; the users go on until all is done")
        quiet.set()
        _finish(world, users)
        _check(world, users, finished)
        return _tell(world, adversary, faults, options.seed)
    finally:
        leaving.set()
        if world.log.problems:
            world.keep()


def _finish(world: World, users: Sequence[User]) -> None:
    """Until nothing is left to do: what a fault has taken back of an earlier round is launched again."""
    for thread in (*world.waits, *(user.thread for user in users)):
        while thread.is_alive():
            thread.join(1.0)
    for user in users:
        for seed in user.rounds[:-1]:
            if checks.undone(world.store, user.line.name(seed)):
                user.finish(seed)


def _check(world: World, users: Sequence[User], finished: checks.Finished) -> None:
    log = world.log
    time.sleep(1.0)  # for the thread that looks for finished stages
    for what, found in (
        ("not done", checks.undone(world.store)),
        ("left over", checks.left_over(world)),
        ("locked", checks.locked(world.store)),
        ("trained twice", list(checks.trained_twice(finished.seen, world.cut))),
        ("lines of metrics", list(checks.lines_lost_or_doubled(world.store))),
        ("not as undisturbed", list(checks.differences(world.store, _undisturbed(world, users)))),
    ):
        for text in checks.said(found):
            log.problem(f"{what}: {text}")


def _undisturbed(world: World, users: Sequence[User]) -> Path:
    """The store of the same work without a fault, on this machine."""
    store = world.folder / "undisturbed"
    world.log.say("the same once more, undisturbed")
    seeds = {seed for user in users for seed in user.rounds}
    said = world.folder / "said" / "undisturbed.txt"
    if world.start(undisturbed(store, seeds, users[0].epochs), said).wait(UNDISTURBED_SECONDS):
        world.log.problem(f"the undisturbed sweep failed: {said.read_text()[-400:]}")
    return store


def _tell(world: World, adversary: Adversary, faults: Sequence[Fault], seed: int) -> int:
    """The table of faults by kind, and whether everything held."""
    problems, kinds, width = world.log.problems, +adversary.struck, max(len(fault.kind) for fault in faults)
    print(f"\n{'fault':{width}}  {'befell' if problems else 'survived'}  found nothing  what it is")
    for fault in faults:
        struck, missed = adversary.struck[fault.kind], adversary.missed[fault.kind]
        print(f"{fault.kind:{width}}  {struck:8d}  {missed:13d}  {fault.about}")
    held = "survived: nothing lost, nothing twice, every bit as undisturbed"
    how = f"{len(problems)} PROBLEMS" if problems else held
    trained = len(checks.stages(world.store))
    print(f"{kinds.total()} faults of {len(kinds)} kinds, {trained} stages, seed {seed}; {how}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
