"""A process keeps its claims alive from a thread of its own, whatever it waits for meanwhile.

Heartbeats that are sent between other things come too late where one of these takes minutes: libraries that are loaded
from a slow disk, a large model that is removed, the answers of a judge. Another host would then take over work that
goes on.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sft_sweeps.files import fence
from sft_sweeps.store import claims
from sft_sweeps.store.claims import Claim


class Heartbeats:
    """Shows other hosts that claims are alive, from now until `end`; and knows which of them were superseded."""

    def __init__(self) -> None:
        self._held: dict[Path, Claim] = {}  # by their folders
        self._lost: set[Path] = set()
        self._changing, self._ended = threading.Lock(), threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def hold(self, folder: Path, claim: Claim) -> None:
        """Keep a claim alive, or go on with what it has become."""
        with self._changing:
            self._held[folder] = claim

    def drop(self, folder: Path) -> None:
        """Before the claim is given back, or once it is superseded."""
        with self._changing:
            self._held.pop(folder, None)
            self._lost.discard(folder)

    def lost(self, folder: Path) -> bool:
        """Whether the claim that is held there was seen to be superseded."""
        return folder in self._lost

    def end(self) -> None:
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(claims.HEARTBEAT_SECONDS):
            for folder, claim in list(self._held.items()):
                alive = claims.heartbeat(folder, claim)
                with self._changing:  # it may have been given back meanwhile
                    if not alive and self._held.get(folder) == claim:
                        self._lost.add(folder)


@contextmanager
def working(folder: Path, claim: Claim) -> Iterator[None]:
    """While this process works under a claim: it is kept alive, nothing is published once it is superseded, and it is
    given back at the end.
    """
    heartbeats = Heartbeats()
    heartbeats.hold(folder, claim)
    fence.hold(partial(claims.heartbeat, folder, claim), f"{claim.number:04d}")
    try:
        yield
    finally:
        fence.drop()
        heartbeats.end()
        claims.release(folder, claim)
