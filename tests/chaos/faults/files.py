"""What befalls the store: no room, no inodes, read-only, files cut short, clocks that differ."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chaos.faults.fault import Chance, Fault, Lasting
from chaos.world import STORE_INODES, STORE_MB, World, run
from sft_sweeps.store.store import RECORD

MOUNTS = frozenset({"disk full", "no inodes", "read-only"})
SKEW = 3600.0  # seconds, at most, by which clocks differ
LITTLE = 64 << 10  # bytes that are left on a full disk
ATTEMPTS = 20  # at making the store small while others write


def _remounted(world: World, options: str) -> None:
    run("mount", "-o", f"remount,{options}", world.store)


def _shrunk(world: World, limit: Callable[[], str]) -> bool:
    """Whether the store is now as small as `limit` says; the kernel refuses where more was written meanwhile."""
    for _ in range(ATTEMPTS):
        with suppress(subprocess.CalledProcessError):
            _remounted(world, limit())
            return True
    return False


def _full(world: World, _: Chance) -> Lasting | None:
    def limit() -> str:
        return f"size={shutil.disk_usage(world.store).used + LITTLE}"

    if not _shrunk(world, limit):
        return None
    return Lasting(f"there are {LITTLE >> 10} KB left", lambda: _remounted(world, f"size={STORE_MB}m"))


def _no_inodes(world: World, _: Chance) -> Lasting | None:
    def limit() -> str:
        there = os.statvfs(world.store)
        return f"nr_inodes={there.f_files - there.f_ffree + 2}"

    if not _shrunk(world, limit):
        return None
    return Lasting("there are two inodes left", lambda: _remounted(world, f"nr_inodes={STORE_INODES}"))


def _read_only(world: World, _: Chance) -> Lasting:
    """Files that are open stay writable: the kernel refuses otherwise. Whatever is opened from now on is not."""
    run("mount", "--bind", world.store, world.store)
    run("mount", "-o", "remount,bind,ro", world.store)
    return Lasting("nothing can be opened for writing", lambda: run("umount", "--lazy", world.store))


def _cut(find: Callable[[World], list[Path]]) -> Callable[[World, Chance], Lasting | None]:
    """Cuts one file that is found to a part of its length, in place."""

    def strike(world: World, chance: Chance) -> Lasting | None:
        if not (found := find(world)):
            return None
        path = chance.of(found)
        with suppress(OSError):  # it may be gone, or not writable now
            size = path.stat().st_size
            os.truncate(path, int(size * chance.second))
            world.cut[path.parent.name] += path.name == RECORD
            return Lasting(f"{path.relative_to(world.store)}: {int(size * chance.second)} of {size} bytes are left")
        return None

    return strike


def _newest_state(world: World) -> list[Path]:
    """The files of the resume state that was saved last."""
    states = sorted(world.store.glob("stages/*/resume/step-*"), key=_changed)
    return sorted(path for path in states[-1].rglob("*") if path.is_file()) if states else []


def _records(world: World) -> list[Path]:
    return sorted(world.store.glob(f"[ms]*s/**/{RECORD}"))


def _claims(world: World) -> list[Path]:
    return sorted(world.store.glob("[ms]*s/**/claim-*.json"))


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _skew(world: World, chance: Chance) -> Lasting | None:
    """A node's clock is wrong: in a shared store that is seen in the times of what it touches."""
    by, shifted = (2 * chance.second - 1) * SKEW, 0
    for path in _claims(world):
        with suppress(OSError):
            moment = time.time() + by
            os.utime(path, (moment, moment))
            shifted += 1
    return Lasting(f"{shifted} claims were touched {by:+.0f} s from now") if shifted else None


FAULTS = (
    Fault("disk full", "the store has no room for a while", _full, (1.0, 6.0), MOUNTS),
    Fault("no inodes", "no file can be made in the store for a while", _no_inodes, (1.0, 6.0), MOUNTS),
    Fault("read-only", "the store can be read alone, but for files that are open", _read_only, (1.0, 6.0), MOUNTS),
    Fault("resume state cut", "a file of the newest resume state is cut short", _cut(_newest_state)),
    Fault("record cut", "a record is cut short", _cut(_records)),
    Fault("claim cut", "a claim is cut short", _cut(_claims)),
    Fault("clock shifted", f"heartbeats seem up to {SKEW / 60:.0f} minutes old or ahead", _skew),
)
