"""Numbers as the page says them: shares in percent, differences in points, each with its interval."""

from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.stats import Interval

MINUS = "\N{MINUS SIGN}"


def title(benchmark: str) -> str:
    """A benchmark's name to read."""
    return benchmark.replace("heldout_loss:", "held-out loss, ")


def unit(share: bool) -> str:
    return " points" if share else ""


def digits(one: Observation | Scored) -> int:
    return 1 if one.share else 2 if one.metric == "rating" else 3


def scaled(one: Observation | Scored, value: float) -> float:
    """As it is shown: a share in percent."""
    return 100 * value if one.share else value


def number(one: Observation, value: float) -> str:
    return f"{scaled(one, value):.{digits(one)}f}".replace("-", MINUS)


def value(cell: Cell) -> str:
    """`84.2 %`, `6.13`."""
    return number(cell.first, cell.value) + (" %" if cell.first.share else "")


def interval(cell: Cell) -> str:
    """`76.6 to 89.6`."""
    return f"{number(cell.first, cell.low)} to {number(cell.first, cell.high)}"


def evidence(cell: Cell) -> str:
    """What a value is of: items, and seeds with their spread where there are several."""
    of = f"n={cell.first.n:,}"
    if len(cell.seeds) > 1:
        of += f", {len(cell.seeds)} seeds, SD {number(cell.first, cell.sd or 0.0)}"
    return of


def signed(one: Observation | Scored, number_: float) -> str:
    return f"{scaled(one, number_):+.{digits(one)}f}".replace("-", MINUS)


def difference(one: Observation, found: Interval) -> str:
    """`+5.0 points [-2.5, +12.5]`."""
    low, high = signed(one, found.low), signed(one, found.high)
    return f"{signed(one, found.value)}{unit(one.share)} [{low}, {high}]"


def p_value(p: float) -> str:
    return "p<0.0001" if p < 1e-4 else f"p={p:.2g}"
