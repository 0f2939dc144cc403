"""Points of a sweep that was launched before, composed anew from their command lines."""

from collections.abc import Sequence

from sft_sweeps.config import command_line
from sft_sweeps.config.grid import Point
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import LAUNCH

PROGRAM = "sft-sweeps launch"


def points(names: Sequence[str]) -> list[Point]:
    """The points with these command lines; RequestError where their study, or a choice, is not as it was.

    Command lines with the same keys are composed together: a line with all their values spans more points than are
    wanted, and the others are left out.
    """
    by_keys: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        by_keys.setdefault(tuple(sorted(_key(word) for word in name.split())), []).append(name)
    found: dict[frozenset[str], Point] = {}
    for of in by_keys.values():
        composed: list[Point] = []

        def collect(made: list[Point], into: list[Point] = composed) -> int:
            into += made
            return 0

        if command_line.main(collect, _spanning(of), PROGRAM):
            raise RequestError(f"the runs cannot be composed as they were; type them yourself: {LAUNCH} {of[0]}")
        found.update({frozenset(point.name.split()): point for point in composed})
    if absent := [name for name in names if frozenset(name.split()) not in found]:
        raise RequestError(
            f"{len(absent)} runs are not in their study any more; type them yourself: {LAUNCH} {absent[0]}"
        )
    return [found[frozenset(name.split())] for name in names]


def _key(word: str) -> str:
    return word.partition("=")[0]


def _spanning(names: Sequence[str]) -> list[str]:
    """One command line with every value that any of them has of a key."""
    values: dict[str, dict[str, None]] = {}
    for name in names:
        for word in name.split():
            key, equals, value = word.partition("=")
            values.setdefault(key + equals, {})[value] = None
    return [f"{key}{','.join(of)}" for key, of in values.items()]
