"""How many hours a way of choosing runs needs to the conclusions of a finished grid: the grid is made once more.

Every way starts with nothing measured and reads its conclusions from the same posterior, so that only the order of runs
differs. A conclusion counts where the finished grid settles it. Reached is a share of them from when on at least so
many are held as the finished grid has them, and stay so.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sft_sweeps.analysis.curves import Scale, scale_of
from sft_sweeps.analysis.next_runs import (
    SURE,
    Board,
    Candidate,
    advise,
    blank,
    measurement,
    scoring_of,
    with_observations,
)
from sft_sweeps.analysis.observations import Observation, grouped
from sft_sweeps.analysis.saturating import USUAL_EXPONENT

Order = Callable[[Sequence[Board], Sequence[Candidate], set[str]], Sequence[Candidate]]


@dataclass(frozen=True)
class Grid:
    """A finished grid: what there was to run, and what came out, by run."""

    candidates: tuple[Candidate, ...]
    scores: Mapping[str, Sequence[Observation]]

    @property
    def hours(self) -> float:
        return sum({stage: hours for one in self.candidates for stage, hours in one.stages}.values())


@dataclass(frozen=True)
class Replay:
    """After each run: the hours spent, and the share of the settled conclusions that are held rightly."""

    hours: tuple[float, ...]
    right: tuple[float, ...]

    def reached(self, share: float) -> float:
        """Hours from when on at least so large a share stays right."""
        wrong = [index for index, value in enumerate(self.right) if value < share - 1e-9]
        return self.hours[min(wrong[-1] + 1, len(self.hours) - 1)] if wrong else self.hours[0]


class Replayer:
    """Replays ways of choosing on one grid."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        observed = [one for scores in grid.scores.values() for one in scores]
        self.scales: dict[str, Scale] = {}
        self.start: list[Board] = []
        settled: list[Board] = []
        settings = [one.setting for one in grid.candidates]
        for scoring, scores in grouped(observed, scoring_of).items():
            scale = scale_of(scoring.metric, [one.value for one in scores])
            if scale is not None:
                self.scales[scoring.benchmark] = scale
                self.start.append(blank(scoring, settings, USUAL_EXPONENT, (), measurement(scores, scale)))
                settled.append(with_observations(self.start[-1], scores, scale))
        self.truth = [np.sign(board.means()) for board in settled]
        self.counted = [(board.sure() >= SURE) & ~board.of_predictions() for board in settled]

    @property
    def conclusions(self) -> int:
        """How many the finished grid settles."""
        return int(sum(counted.sum() for counted in self.counted))

    def replay(self, order: Order) -> Replay:
        boards, left, free, spent = list(self.start), list(self.grid.candidates), set[str](), 0.0
        hours, right = [0.0], [self._right(boards)]
        while left:
            for one in order(boards, left, free):
                spent += one.hours(free)
                free |= {stage for stage, _ in one.stages}
                left.remove(one)
                boards = [self._seen(board, one) for board in boards]
                hours.append(spent)
                right.append(self._right(boards))
        return Replay(tuple(hours), tuple(right))

    def _seen(self, board: Board, candidate: Candidate) -> Board:
        scores = [one for one in self.grid.scores[candidate.run] if scoring_of(one) == board.scoring]
        return with_observations(board, scores, self.scales[board.scoring.benchmark]) if scores else board

    def _right(self, boards: Sequence[Board]) -> float:
        held = [
            (np.sign(board.means()) == truth)[counted]
            for board, truth, counted in zip(boards, self.truth, self.counted, strict=True)
        ]
        return float(np.concatenate(held).mean()) if self.conclusions else 1.0


def by_advice(boards: Sequence[Board], left: Sequence[Candidate], free: set[str]) -> Sequence[Candidate]:
    """What `sft-sweeps next` would say; where it has nothing more to say, the cheapest run."""
    rest = [Candidate(c.run, c.label, c.setting, tuple(s for s in c.stages if s[0] not in free)) for c in left]
    advice = advise(boards, rest, float("inf"), most=1)
    chosen = {one.run for choice in advice.choices for one in choice.candidates}
    picked = [one for one in left if one.run in chosen]
    return picked or cheapest(boards, left, free)


def cheapest(_: Sequence[Board], left: Sequence[Candidate], free: set[str]) -> Sequence[Candidate]:
    """The run that costs least now."""
    return [min(left, key=lambda one: one.hours(free))]


def at_random(seed: int) -> Order:
    """Any order."""
    rng = np.random.default_rng(seed)
    return lambda _boards, left, _free: [left[int(rng.integers(len(left)))]]


def successive_halving(grid: Grid, seed: int = 0) -> Order:
    """Successive halving (Jamieson and Talwalkar 2016), the largest fraction of a run being its resource.

    At each fraction, smallest first, all arms that are left run, and the better half of them goes on. An arm is all
    runs of a model that differ in their fractions alone; better is a higher mean over benchmarks, each scaled from 0 to
    1. Runs of arms that fell out are taken up at the end, those of the last ones first.
    """
    rng, means = np.random.default_rng(seed), _mean_scores(grid)
    shuffled = [grid.candidates[int(i)] for i in rng.permutation(len(grid.candidates))]
    levels = grouped(shuffled, lambda one: max((part.fraction for part in one.setting.parts), default=Fraction(0)))
    queue: list[Candidate] = []
    out: dict[tuple[object, ...], int] = {}
    for rung, level in enumerate(sorted(levels)):
        run = [one for one in levels[level] if _arm(one) not in out]
        queue += run
        best = {arm: max(means[one.run] for one in of) for arm, of in grouped(run, _arm).items()}
        ranked = sorted(best, key=lambda arm: -best[arm])
        out.update(dict.fromkeys(ranked[(len(ranked) + 1) // 2 :], rung))
    rest = [one for one in shuffled if one not in queue]
    queue += sorted(rest, key=lambda one: (-out[_arm(one)], one.hours()))
    place = {one.run: index for index, one in enumerate(queue)}
    return lambda _boards, left, _free: [min(left, key=lambda one: place[one.run])]


def _arm(one: Candidate) -> tuple[object, ...]:
    setting = one.setting
    return setting.model, setting.variant, setting.arm, setting.k, tuple((p.ability, p.source) for p in setting.parts)


def _mean_scores(grid: Grid) -> dict[str, float]:
    """Of each run over benchmarks, each scaled from 0 to 1 over the grid."""
    observed = [one for scores in grid.scores.values() for one in scores]
    ranges = {
        scoring: (min(one.value for one in scores), max(one.value for one in scores), scores[0].higher_is_better)
        for scoring, scores in grouped(observed, scoring_of).items()
    }

    def scaled(one: Observation) -> float:
        low, high, up = ranges[scoring_of(one)]
        share = (one.value - low) / ((high - low) or 1.0)
        return share if up else 1 - share

    return {run: float(np.mean([scaled(one) for one in scores] or [0.0])) for run, scores in grid.scores.items()}
