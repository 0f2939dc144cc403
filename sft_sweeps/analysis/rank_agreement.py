"""How far two measures put the same things in the same order: Kendall's tau-b, with an interval.

Tau-b (Kendall 1945) counts pairs in the same order less those in the other, with ties allowed for. The interval is
normal, its standard error a bootstrap's (Efron 1979). Percentiles lie below the value: what a resample holds has the
noise of its items twice, which lowers agreement.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sft_sweeps.stats import CRITICAL, Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Values = npt.NDArray[np.float64]

RESAMPLES, SEED = 500, 0
FEW = 2  # things, whose order says nothing


def tau_b(one: "Sequence[float] | Values", other: "Sequence[float] | Values") -> float | None:
    """The value alone; None where a side is all ties."""
    import numpy as np
    from scipy.stats import kendalltau

    value = float(kendalltau(one, other).statistic)
    return value if np.isfinite(value) else None


def of_answers(one: "Values", other: "Values") -> Interval | None:
    """Of two judges' grades, models by questions, all answers in one order; questions are drawn."""
    import numpy as np

    questions = one.shape[1]
    drawn = np.random.default_rng(SEED).integers(0, questions, size=(RESAMPLES, questions))
    whole = tau_b(one.ravel(), other.ravel())
    return _interval(whole, (tau_b(one[:, picked].ravel(), other[:, picked].ravel()) for picked in drawn))


def of_models(one: Sequence["Values"], other: Sequence["Values"]) -> Interval | None:
    """Of models' mean values, each model's by seeds and items; items are drawn for all models, seeds for each.

    A model has the same seeds, and all models the same items, on both sides. Of one seed, items alone are drawn, and
    the interval does not tell how other seeds would have come out; few seeds tell it too narrowly.
    """
    import numpy as np

    whole = tau_b([float(values.mean()) for values in one], [float(values.mean()) for values in other])
    items, stream = one[0].shape[1], np.random.default_rng(SEED)
    weights = stream.multinomial(items, np.full(items, 1 / items), RESAMPLES) / items
    first, second = (np.empty((len(one), RESAMPLES)) for _ in range(2))
    for number, pair in enumerate(zip(one, other, strict=True)):
        seeds = len(pair[0])
        picked = stream.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES) / seeds
        first[number], second[number] = (((weights @ values.T) * picked).sum(axis=1) for values in pair)
    return _interval(whole, (tau_b(*pair) for pair in zip(first.T, second.T, strict=True)))


def _interval(whole: float | None, resampled: Iterable[float | None]) -> Interval | None:
    import numpy as np

    if whole is None:
        return None
    taus = np.asarray([tau for tau in resampled if tau is not None])
    half = CRITICAL * float(taus.std(ddof=1)) if len(taus) > 1 else 2.0
    return Interval(whole, max(whole - half, -1.0), min(whole + half, 1.0))


def text(interval: Interval) -> str:
    """`0.52 [0.31, 0.73]`."""
    return f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
