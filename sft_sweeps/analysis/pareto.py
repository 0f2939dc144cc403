"""Which trades between abilities are worth considering: the Pareto front, and how surely each setting is on it.

A setting is on the front where no other of its group is at least as good on every benchmark and better on one. Scores
are uncertain, which a front of point estimates does not show: `membership` is the share of bootstrap draws in which the
setting is on the front of that draw.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sft_sweeps.analysis.cells import Cell, finals
from sft_sweeps.analysis.observations import Observation, Setting, grouped
from sft_sweeps.analysis.resample import draws

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting with its cell on every benchmark of the front."""

    setting: Setting
    cells: tuple[Cell, ...]
    on_front: bool
    membership: float

    @property
    def name(self) -> str:
        """The strategy, with its k."""
        return self.setting.strategy_with_k


@dataclass(frozen=True, slots=True)
class Front:
    """Of one model, on one mixture's sources and fractions: what differs is the strategy and its k."""

    model: str
    benchmarks: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    left_out: tuple[str, ...] = ()

    @property
    def setting(self) -> Setting:
        return self.candidates[0].setting


def fronts(observations: Iterable[Observation], least: int = 3) -> list[Front]:
    """Every front of so many settings and more, over all benchmarks of accuracy or rating that they share."""
    mixed = [cell for cell in finals(observations) if len(cell.setting.abilities) > 1 and cell.first.metric != "loss"]
    groups = grouped(mixed, _group)
    return [front for of in groups.values() if (front := _front(of, least))]


def _group(cell: Cell) -> tuple[object, ...]:
    setting = cell.setting
    return setting.model, setting.variant, frozenset(setting.parts), cell.first.origin


def _front(cells: Sequence[Cell], least: int) -> Front | None:
    """Of the settings that are scored on all benchmarks; one under two protocols is no axis."""
    axes = list(dict.fromkeys(cell.scoring for cell in cells))
    axes = [axis for axis in axes if sum(other[0] == axis[0] for other in axes) == 1]
    by_cell = grouped(cells, lambda cell: cell.setting)
    by_setting = {setting: {cell.scoring: cell for cell in of} for setting, of in by_cell.items()}
    whole = {setting: of for setting, of in by_setting.items() if all(axis in of for axis in axes)}
    if len(axes) < 2 or len(whole) < least:
        return None
    left_out = tuple(setting.strategy_with_k for setting in by_setting if setting not in whole)
    table = [[of[axis] for axis in axes] for of in whole.values()]
    on_front, membership = _membership(table)
    candidates = tuple(
        Candidate(setting, tuple(of), bool(on), float(share))
        for setting, of, on, share in zip(whole, table, on_front, membership, strict=True)
    )
    return Front(cells[0].setting.model, tuple(axis[0] for axis in axes), candidates, left_out)


def _membership(table: Sequence[Sequence[Cell]]) -> tuple["npt.NDArray[np.bool_]", "npt.NDArray[np.float64]"]:
    """Of settings by benchmarks: which are on the front, and in what share of draws."""
    import numpy as np

    signs = [1.0 if cell.first.higher_is_better else -1.0 for cell in table[0]]
    seen = np.asarray([[sign * cell.value for sign, cell in zip(signs, row, strict=True)] for row in table])
    flat = draws([cell for row in table for cell in row])
    drawn = flat.reshape(len(table), len(signs), -1) * np.asarray(signs)[None, :, None]
    return undominated(seen[:, :, None])[:, 0], undominated(drawn).mean(axis=1)


def undominated(values: "npt.NDArray[np.float64]") -> "npt.NDArray[np.bool_]":
    """Of settings by benchmarks by draws, more being better: which settings are on each draw's front."""
    import numpy as np

    ours, others = values[:, None], values[None, :]  # a setting, against each other, benchmarks, draws
    dominated: npt.NDArray[np.bool_] = np.all(others >= ours, axis=2) & np.any(others > ours, axis=2)
    return np.asarray(~dominated.any(axis=1))
