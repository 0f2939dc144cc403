"""Which missing runs of a grid are worth their cost: those that most probably change a conclusion, for each hour.

All conclusions of all benchmarks stand on normal distributions over the grid (grid_posterior.py). A run will move the
mean of a difference by a normal amount whose spread s is known before it is run: the conclusion changes when it moves
past zero, with probability Phi(-|mean| / s). What counts is not that alone, which is large wherever nothing is known,
but by how much surer the conclusions are expected to be afterwards (a knowledge gradient: Frazier, Powell and Dayanik
2009). A run costs what is
missing of its stages: stages that are trained, or that a run chosen before it trains, are free. Runs that would share
a missing stage are also weighed together.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from sft_sweeps.analysis.conclusions import Conclusion, conclusions
from sft_sweeps.analysis.curves import Scale, Scoring, scale_of
from sft_sweeps.analysis.fits import Fitted
from sft_sweeps.analysis.grid_posterior import Posterior, prior
from sft_sweeps.analysis.noise import drawn, item_sd, seed_spread
from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.analysis.predict import fitted
from sft_sweeps.analysis.saturating import USUAL_EXPONENT
from sft_sweeps.stats import CRITICAL, NORMAL

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

SURE = 0.95  # of a conclusion: it is settled
SETTLED, OPEN, MEASURED = "settled", "open", "undecided"  # how a conclusion stands
LEAST_GAIN = 0.02  # conclusions more that a run must be expected to bring right
# A standard normal variable in parts of equal probability: means over it, of functions that bend sharply at 0.
NODES = np.array([NORMAL.inv_cdf((part + 0.5) / 40) for part in range(40)])
NOISE_DRAWS = 400
LIKELY = 3  # conclusions that a choice names


@dataclass(frozen=True, slots=True)
class Candidate:
    """A run that could be made: `stages` are its chain's with their hours, by id; those that are done are left out."""

    run: str
    label: str
    setting: Setting
    stages: tuple[tuple[str, float], ...]

    def hours(self, free: Collection[str] = ()) -> float:
        return sum(hours for stage, hours in self.stages if stage not in free)


@dataclass(frozen=True)
class Board:
    """One benchmark's cells, what is known of them, and the conclusions about them, as rows of weights.

    `noise` is the variance of one measurement; `limit` is by how much a prediction must move to be another one.
    """

    scoring: Scoring
    cells: tuple[Setting, ...]
    posterior: Posterior
    conclusions: tuple[Conclusion, ...]
    contrasts: "Array"
    noise: float
    measured: frozenset[int]

    @property
    def limit(self) -> float:
        return CRITICAL * math.sqrt(self.noise)

    def sure(self) -> "Array":
        """The probability that each conclusion, as it stands, is right; a prediction's, that it is within the limit."""
        from scipy.special import ndtr

        spread = np.maximum(self.posterior.spread_of(self.contrasts), 1e-12)
        right = ndtr(np.abs(self.means()) / spread)
        sure: Array = np.where(self.of_predictions(), 1 - 2 * ndtr(-self.limit / spread), right)
        return sure

    def states(self) -> list[str]:
        """Of each conclusion: settled, or open, or undecided though all that it is about is measured."""
        measured = [{one.first, one.first if one.second is None else one.second} for one in self.conclusions]
        return [
            SETTLED if sure >= SURE else MEASURED if of <= self.measured else OPEN
            for sure, of in zip(self.sure(), measured, strict=True)
        ]

    def means(self) -> "Array":
        """Of the difference that each conclusion is about, or the predicted score."""
        means: Array = self.contrasts @ self.posterior.mean
        return means

    def of_predictions(self) -> "npt.NDArray[np.bool_]":
        return np.array([one.second is None for one in self.conclusions], dtype=bool)

    def changes(self, cells: Sequence[int]) -> "Array":
        """The probability that measuring these cells changes each conclusion."""
        from scipy.special import ndtr

        moved = self.posterior.moved_by(self.contrasts, cells, np.eye(len(cells)) * self.noise)
        moved = np.maximum(moved, 1e-12)
        signs = ndtr(-np.abs(self.means()) / moved)
        chances: Array = np.where(self.of_predictions(), 2 * ndtr(-self.limit / moved), signs)
        return chances

    def gains(self, cells: Sequence[int]) -> "Array":
        """By how much surer each conclusion is expected to be, and to be right, once these cells are measured."""
        from scipy.special import ndtr

        moved = self.posterior.moved_by(self.contrasts, cells, np.eye(len(cells)) * self.noise)
        spread = self.posterior.spread_of(self.contrasts)
        left = np.sqrt(np.maximum(spread**2 - moved**2, 1e-12))
        means = self.means()[:, None] + moved[:, None] * NODES
        right = ndtr(np.abs(means) / left[:, None]).mean(axis=1)
        after = np.where(self.of_predictions(), 1 - 2 * ndtr(-self.limit / left), right)
        gains: Array = np.maximum(after - self.sure(), 0.0)
        return gains

    def expecting(self, cells: Sequence[int]) -> "Board":
        """As it will be once these cells are measured: as sure, and on average where it is."""
        values = self.posterior.mean[np.asarray(cells)]
        after = self.posterior.given(cells, values, np.eye(len(cells)) * self.noise)
        return self._with(after, cells)

    def with_scores(self, cells: Sequence[int], values: "Array", noise: "Array") -> "Board":
        """With scores of these cells, on the scale."""
        return self._with(self.posterior.given(cells, values, noise), cells)

    def _with(self, posterior: Posterior, cells: Iterable[int]) -> "Board":
        measured = self.measured | set(cells)
        return Board(
            self.scoring, self.cells, posterior, self.conclusions, self.contrasts, self.noise, frozenset(measured)
        )


@dataclass(frozen=True)
class Choice:
    """Runs that are to be made together, in this place of the order.

    `gain` is how many conclusions more are expected to be right then, `likely` those that they most probably change.
    """

    candidates: tuple[Candidate, ...]
    hours: float
    gain: float
    likely: tuple[tuple[float, str, Conclusion], ...]


@dataclass(frozen=True)
class Advice:
    """The runs to make, in order, and why there are no more of them."""

    choices: tuple[Choice, ...] = ()
    hours: float = 0.0
    stopped: str = ""
    boards: tuple[Board, ...] = field(default=(), repr=False)


def boards(
    observed: Sequence[Observation],
    planned: Sequence[Setting],
    stated: Mapping[str, Sequence[tuple[Setting, Setting]]] | None = None,
) -> list[Board]:
    """One for each benchmark that anything is measured on; `stated` are a study's pairs by benchmark."""
    usable = [one for one in observed if one.final]
    exponents = {one.scoring: _exponent(one) for one in fitted(usable, 50)[0]}
    made = []
    for scoring, scores in grouped(usable, scoring_of).items():
        scale = scale_of(scoring.metric, [one.value for one in scores])
        if scale is not None:
            settings = [*planned, *(one.setting for one in scores)]
            pairs = (stated or {}).get(scoring.benchmark, ())
            board = blank(scoring, settings, exponents.get(scoring, USUAL_EXPONENT), pairs, measurement(scores, scale))
            made.append(with_observations(board, scores, scale))
    return made


def scoring_of(one: Observation) -> Scoring:
    return Scoring(one.origin, one.benchmark, one.ability, one.metric, one.protocol)


def _exponent(of: Fitted) -> float:
    return float(np.median(of.laws.exponent)) if of.laws else USUAL_EXPONENT


def measurement(scores: Sequence[Observation], scale: Scale) -> float:
    """The variance of one more score, of its items and its training seed, on the scale."""
    seed_sd = seed_spread(list(_by_cell(scores).values()), scale)
    return float((median(map(item_sd, scores)) / scale.unit) ** 2 + seed_sd**2)


def _by_cell(scores: Sequence[Observation]) -> dict[Setting, list[Observation]]:
    return grouped(scores, lambda one: one.setting.cell)


def blank(
    scoring: Scoring,
    settings: Iterable[Setting],
    exponent: float,
    stated: Iterable[tuple[Setting, Setting]],
    noise: float,
) -> Board:
    """A benchmark of which nothing is measured yet."""
    cells = tuple(dict.fromkeys(setting.cell for setting in settings))
    found = tuple(conclusions(cells, scoring.ability, stated))
    contrasts = np.zeros((len(found), len(cells)))
    for row, one in enumerate(found):
        contrasts[row, one.first] = 1.0
        if one.second is not None:
            contrasts[row, one.second] = -1.0
    return Board(scoring, cells, prior(cells, scoring.ability, exponent), found, contrasts, noise, frozenset())


def with_observations(board: Board, scores: Sequence[Observation], scale: Scale) -> Board:
    """With what is measured: runs on the same items with the noise that they share."""
    number = {cell: index for index, cell in enumerate(board.cells)}
    by_cell = _by_cell(scores)
    values = np.array([np.mean([scale.to(one.value) for one in group]) for group in by_cell.values()])
    groups, rng = list(by_cell.values()), np.random.default_rng(0)
    draws = drawn(groups, scale, NOISE_DRAWS, rng, seed_spread(groups, scale))
    shared = any(one.items for one in scores)
    noise = np.cov(draws.T).reshape(len(groups), -1) if shared else np.diag(draws.var(axis=0))
    return board.with_scores([number[cell] for cell in by_cell], values, noise)


def advise(
    boards: Sequence[Board],
    candidates: Sequence[Candidate],
    budget: float,
    most: int | None = None,
    unit: str = "hours",
) -> Advice:
    """Runs in the order in which to make them, greedily by expected changes for each hour, within a budget of hours."""
    left, free, spent = list(candidates), set[str](), 0.0
    choices: list[Choice] = []
    stopped = "every run of the grid is chosen" if left else "every run of the grid is scored"
    while left and (most is None or len(choices) < most):
        weighed = [_weighed(boards, group, free) for group in _groups(left, free)]
        useful = [one for one in weighed if one.gain >= LEAST_GAIN]
        affordable = [one for one in useful if spent + one.hours <= budget]
        if not affordable:
            stopped = _why_stopped(useful, budget - spent, unit)
            break
        best = max(affordable, key=lambda one: one.gain / max(one.hours, 1e-9))
        choices.append(best)
        spent += best.hours
        free |= {stage for one in best.candidates for stage, _ in one.stages}
        left = [one for one in left if one not in best.candidates]
        boards = [_expecting(board, best.candidates) for board in boards]
    return Advice(tuple(choices), spent, stopped, tuple(boards))


def _why_stopped(useful: Sequence[Choice], left: float, unit: str) -> str:
    if not useful:
        return "no run of the grid is likely to change a conclusion any more"
    cheapest = min(useful, key=lambda one: one.hours)
    return (
        f"nothing unsettled is affordable: {left:,.3g} {unit} are left, and the cheapest run that may change a "
        f"conclusion takes {cheapest.hours:,.3g} ({cheapest.candidates[0].label})"
    )


def _groups(left: Sequence[Candidate], free: Collection[str]) -> list[tuple[Candidate, ...]]:
    """Each run by itself, and all that share a missing stage, together."""
    sharing: dict[str, list[Candidate]] = {}
    for one in left:
        for stage, _ in one.stages[:-1]:
            if stage not in free:
                sharing.setdefault(stage, []).append(one)
    together = {tuple(group): None for group in sharing.values() if len(group) > 1}
    return [*((one,) for one in left), *together]


def _weighed(boards: Sequence[Board], group: tuple[Candidate, ...], free: Collection[str]) -> Choice:
    likely: list[tuple[float, str, Conclusion]] = []
    total = 0.0
    for board in boards:
        cells = _cells(board, group)
        chances, gains = board.changes(cells), board.gains(cells)
        total += float(gains.sum())
        top = np.argsort(gains)[::-1][:LIKELY]
        likely += [(float(chances[i]), board.scoring.benchmark, board.conclusions[i]) for i in top]
    stages = {stage: hours for one in group for stage, hours in one.stages if stage not in free}
    ordered = sorted(likely, key=lambda one: -one[0])[:LIKELY]
    return Choice(group, sum(stages.values()), total, tuple(ordered))


def _cells(board: Board, group: Iterable[Candidate]) -> list[int]:
    """Replicates measure one cell: they count once."""
    number = {cell: index for index, cell in enumerate(board.cells)}
    return list(dict.fromkeys(number[one.setting.cell] for one in group))


def _expecting(board: Board, group: Iterable[Candidate]) -> Board:
    return board.expecting(_cells(board, group))
