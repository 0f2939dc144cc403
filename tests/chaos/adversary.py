"""The adversary: a seed's schedule of faults, and who follows it.

A seed gives the same kinds in the same order, each with the same choice among what it finds (the work with that place
in the order of names), the same length and the same pause after it. What it finds depends on the moment: a fault that
finds nothing is tried again before each later one, until its kind comes once more.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chaos.faults.fault import Chance, Fault, Lasting
from chaos.world import World

PAUSES = (0.4, 1.6)  # between two faults, evenly, of the pace
AGAIN = 0.3  # seconds until the next, where nothing was there to befall


@dataclass(frozen=True)
class Stroke:
    """One entry of a schedule."""

    number: int
    fault: Fault
    chance: Chance
    pause: float


def schedule(seed: int, faults: Sequence[Fault], pace: float = 5.0) -> Iterator[Stroke]:
    """Without end, `pace` seconds from fault to fault. Every kind comes once before any comes again."""
    draws, number = random.Random(seed), 0
    while True:
        for fault in draws.sample(faults, len(faults)):
            number += 1
            chance = Chance(draws.random(), draws.random(), draws.uniform(*fault.seconds))
            yield Stroke(number, fault, chance, pace * draws.uniform(*PAUSES))


@dataclass
class Adversary:
    """Follows a schedule; `struck` counts the faults that befell something, by kind, `missed` those that never did.

    `lasting` are those that go on, with the moment of their end, `put_off` those that have found nothing yet, by kind.
    """

    world: World
    strokes: Iterator[Stroke]
    leaving: threading.Event
    struck: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    lasting: list[tuple[float, Stroke, Lasting]] = field(default_factory=list)
    put_off: dict[str, Stroke] = field(default_factory=dict)

    def reign(self, seconds: float) -> None:
        """For so long; all that lasts is ended at the end."""
        end = time.monotonic() + seconds
        try:
            while (now := time.monotonic()) < end and not self.leaving.is_set():
                self._until(min(end, now + self._next()))
        finally:
            self._heal(all_of_it=True)

    def _next(self) -> float:
        """Strike once: with what was put off, the oldest first, or the next of the schedule; the pause after it."""
        for stroke in list(self.put_off.values()):
            if self._strike(stroke):
                del self.put_off[stroke.fault.kind]
                return stroke.pause
        stroke = next(self.strokes)
        if self._strike(stroke):
            return stroke.pause
        self.missed[stroke.fault.kind] += self.put_off.pop(stroke.fault.kind, None) is not None
        self.put_off[stroke.fault.kind] = stroke
        return AGAIN

    def _strike(self, stroke: Stroke) -> bool:
        """Whether there was something to befall."""
        kind = stroke.fault.kind
        if stroke.fault.excludes & {one.fault.kind for _, one, _ in self.lasting}:
            return False  # they cannot be at the same time
        found = stroke.fault.strike(self.world, stroke.chance)
        if found is None:
            return False
        self.struck[kind] += 1
        lasts = f", for {stroke.chance.seconds:.1f} s" if found.heal else ""
        self.world.log.say(f"#{stroke.number:03d} {kind}: {found.what}{lasts}")
        if found.heal:
            self.lasting.append((time.monotonic() + stroke.chance.seconds, stroke, found))
        return True

    def _until(self, moment: float) -> None:
        while not self.leaving.is_set():
            self._heal()
            if time.monotonic() >= moment:
                return
            time.sleep(0.05)

    def _heal(self, *, all_of_it: bool = False) -> None:
        """End what has lasted long enough, the newest first: of two mounts the last one lies above."""
        now = time.monotonic()
        due = [one for one in self.lasting if all_of_it or one[0] <= now]
        self.lasting = [one for one in self.lasting if one not in due]
        for _, stroke, found in sorted(due, key=lambda one: -one[1].number):
            assert found.heal is not None
            found.heal()
            self.world.log.say(f"#{stroke.number:03d} {stroke.fault.kind} is over")
