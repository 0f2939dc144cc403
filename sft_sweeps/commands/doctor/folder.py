"""The folder that a store lies in: whether it does what claims, records and resume states rely on, and how fast.

Everything is tried in a folder of its own, which is removed.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sft_sweeps.commands.doctor.finding import Finding, Level
from sft_sweeps.commands.doctor.slurm import file_system
from sft_sweeps.files.folders import nearest_folder
from sft_sweeps.launch.disk import room
from sft_sweeps.slurm.queue import CLOCK_SECONDS

LITTLE_GB, FEW_FILES = 20.0, 100_000
BLOCK, BLOCKS = 1 << 20, 32  # bytes that are written to see how fast it is
SMALL_FILES = 30
SLOW_MB, SLOW_MS = 30.0, 50.0  # a second; for a small file
ELSEWHERE = "output_dir=FOLDER on another file system"


def findings(root: Path) -> Iterator[Finding]:
    """Of the folder, or where there is none yet, of the one that it would be made in."""
    place = nearest_folder(root)
    tried = place / f".doctor-{uuid.uuid4().hex[:8]}"
    try:
        tried.mkdir()
    except OSError as error:
        yield Finding("problem", "folder", f"{place} cannot be written ({error.strerror})", "output_dir=FOLDER")
        return
    try:
        yield Finding("ok", "folder", f"{place} can be written; it lies on {file_system(place) or 'an unknown system'}")
        yield _links(tried)
        yield _locks(tried)
        yield _clock(tried)
        yield from _room(place)
        yield _speed(tried)
    finally:
        shutil.rmtree(tried, ignore_errors=True)


def _links(tried: Path) -> Finding:
    """Claims are linked, of two only the first; records are renamed over what was there."""
    one, other = tried / "one", tried / "other"
    one.write_text("1")
    try:
        os.link(one, other)
        try:
            os.link(one, other)
        except FileExistsError:
            one.replace(other)
            return Finding("ok", "rename", "files are linked and renamed whole: of two claims one wins")
    except OSError as error:
        return Finding("problem", "rename", f"files cannot be linked ({error.strerror}), as claims must be", ELSEWHERE)
    return Finding("problem", "rename", "a second link takes the place of the first: claims would not hold", ELSEWHERE)


def _locks(tried: Path) -> Finding:
    path = tried / "lock"
    try:
        with path.open("w") as first, path.open("w") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return Finding("ok", "locks", "a file that one process holds is held")
    except OSError as error:
        text = f"there are none ({error.strerror}): two jobs may encode a source at once, and nothing is lost by it"
        return Finding("warning", "locks", text, "mount it with locks (Lustre: -o flock)")
    return Finding("warning", "locks", "two processes hold one file at once", "mount it with locks (Lustre: -o flock)")


def _clock(tried: Path) -> Finding:
    """Who is alive is told by the times of files."""
    before = time.time()
    (tried / "now").write_text("")
    off = (tried / "now").stat().st_mtime - (before + time.time()) / 2
    if abs(off) < CLOCK_SECONDS / 4:
        return Finding("ok", "clock", "the file server's is this machine's")
    text = f"the file server's is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}: dead claims may seem alive"
    level: Level = "problem" if abs(off) > CLOCK_SECONDS else "warning"
    return Finding(level, "clock", text, "have both set by NTP")


def _room(place: Path) -> Iterator[Finding]:
    left, status = room(place), os.statvfs(place)
    change = "sft-sweeps du says where it went; store.retention=final keeps less"
    text = f"{left.gb:,.0f} GB left ({left.limit}); a plan (action=plan) says what a sweep takes"
    yield Finding("ok", "space", text) if left.gb >= LITTLE_GB else Finding("warning", "space", text, change)
    if status.f_files:
        text = f"{status.f_favail:,} more can be made"
        few = status.f_favail < FEW_FILES
        yield Finding("warning", "files", text, "free some: sft-sweeps du") if few else Finding("ok", "files", text)


def _speed(tried: Path) -> Finding:
    """Of one large file that is synchronised, and of small ones."""
    content, begun = os.urandom(BLOCK), time.monotonic()
    with (tried / "large").open("wb") as file:
        for _ in range(BLOCKS):
            file.write(content)
        os.fsync(file.fileno())
    megabytes = BLOCK * BLOCKS / 1e6 / (time.monotonic() - begun)
    begun = time.monotonic()
    for n in range(SMALL_FILES):
        path = tried / f"small-{n}"
        path.write_text("{}")
        path.replace(tried / f"renamed-{n}")
    each = 1000 * (time.monotonic() - begun) / SMALL_FILES
    text = f"{megabytes:,.0f} MB/s to the disk, {each:.1f} ms for a small file"
    if megabytes >= SLOW_MB and each <= SLOW_MS:
        return Finding("ok", "speed", text)
    return Finding("warning", "speed", f"{text}: saving and looking take long", ELSEWHERE)
