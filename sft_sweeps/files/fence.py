"""What keeps two starts of one job from both writing: only the start that still holds its folder publishes anything.

Slurm starts a job again when its node seems dead. The processes on that node may live on, for minutes, in the same
folder. So whatever a start writes is prepared under a hidden name and published by a rename. Before every rename it
looks whether it still holds the folder; and a start that takes a folder over removes what was being prepared there
before it reads anything. A rename that was overtaken between the look and the rename then finds nothing to rename.

A process that holds nothing (a launcher, a worker that was started without a claim) publishes freely.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.errors import Superseded


@dataclass
class _Fence:
    still_ours: Callable[[], bool] | None = None
    token: str = ""


_fence = _Fence()


def hold(still_ours: Callable[[], bool], token: str) -> None:
    """From now on this process publishes only while `still_ours()`; `token` is in the names of what it prepares."""
    _fence.still_ours, _fence.token = still_ours, token


def drop() -> None:
    """The folder is given back: publish freely again."""
    _fence.still_ours, _fence.token = None, ""


def token() -> str:
    """Tells names of what is being prepared apart from those of another start; empty where nothing is held."""
    return _fence.token


def check() -> None:
    """Superseded where another start has taken the folder over."""
    if _fence.still_ours and not _fence.still_ours():
        raise Superseded("another start of this job has taken its folder over; this one ends")


def publish(prepared: Path, target: Path) -> None:
    """Rename what was prepared to the name under which it counts."""
    check()
    try:
        prepared.replace(target)
    except FileNotFoundError:
        check()
        raise
