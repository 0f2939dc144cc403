"""Freeing and launching at the same time, so that neither is fooled by the other.

Whoever frees what no sweep asks for looks at the sweeps and renames it away while it holds the store's lock, and a
launch freezes its plan while it holds that lock: either the plan is seen, or what was freed is gone before the plan is
there. Whoever frees anything leaves a new mark first; a launch that finds another mark once its plan is frozen than
before it looked looks again (launch/launch.py). The mark before is that of a moment at which nobody was freeing: who is
in the midst of it has left his mark already, and removes later what the launch finds.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sft_sweeps.files.json_files import content, write_json
from sft_sweeps.files.lock import locked

LOCK = "store.lock"
MARK = "last_freed.json"  # in a store: when something was freed last, and by what
ASIDE = ".freed-"  # begins the name of what was renamed away and is being removed


@contextlib.contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold a store's lock; nothing is waited for where there is no store yet, or its file system has no locks."""
    with locked(root / LOCK) if root.is_dir() else contextlib.nullcontext():
        yield


def leave_mark(root: Path, by: str) -> None:
    """Say that something is about to be freed. On a full disk the last mark is removed, which is a change too."""
    mark = {"by": by, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "id": uuid.uuid4().hex}
    try:
        write_json(root / MARK, mark, durable=False)
    except OSError:
        (root / MARK).unlink(missing_ok=True)


def last_mark(root: Path) -> bytes:
    """What was marked last; empty where nothing was ever freed."""
    with contextlib.suppress(OSError):
        return content(root / MARK)
    return b""


def settled_mark(root: Path) -> bytes:
    """The same, once whoever is freeing now has ended: what is freed from then on has another mark."""
    found = last_mark(root)
    if (root / LOCK).exists():  # there was none before the first mark
        with contextlib.suppress(OSError), alone(root):
            found = last_mark(root)
    return found


def put_aside(path: Path) -> Path:
    """Rename a file or folder so that it counts as gone; where it lies until it is removed."""
    aside = path.with_name(f"{ASIDE}{uuid.uuid4().hex[:8]}")
    os.rename(path, aside)
    return aside
