"""The tables of `sft-sweeps predict`; predict.py makes what they show."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from sft_sweeps.analysis.backtest import Backtest
from sft_sweeps.analysis.fits import Prediction, shown
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.commands import fit
from sft_sweeps.commands.fit import Column
from sft_sweeps.stats import CONFIDENCE
from sft_sweeps.terminal import say

if TYPE_CHECKING:
    from sft_sweeps.commands.predict import Predicted

NONE = "-"


def show(predicted: "Predicted", out: Console) -> None:
    """Predictions, what such predictions would have been worth, and what is to be known of both."""
    made = [one for one in predicted.predictions if not one.why_not]
    refused = [one for one in predicted.predictions if one.why_not]
    if made:
        fit.show(_columns(made), f"{predicted.name}: predicted scores", out)
    if refused:
        fit.show(_refused_columns(refused), "not predicted", out)
    if not predicted.predictions:
        say(out, escape(f"{predicted.name}: nothing is to be predicted, every fraction that was asked for is measured"))
    if predicted.backtests:
        fit.show(_backtest_columns(predicted.backtests), "backtest: each curve's largest fraction held out", out)
        say(out, "errors are means of absolute differences; shares in percent, a rating from 1 to 10, a loss in nats")
        say(
            out, f"no prediction where half of the {CONFIDENCE:.0%} interval is wider than all that the curve has moved"
        )
    else:
        say(out, "no backtest: it needs a curve of four fractions, one of which is held out")
    for note in predicted.notes:
        say(out, f"[yellow]note[/] {escape(note)}")


def _place(rows: list[Prediction]) -> list[Column]:
    return [
        Column("benchmark", [one.scoring.benchmark for one in rows], good=16, least=8),
        Column("model", [one.line.model for one in rows], good=16, least=8),
        Column("arm", [one.line.label for one in rows], good=24, least=10),
        Column("fraction", [str(one.fraction) for one in rows], right=True),
    ]


def _columns(rows: list[Prediction]) -> list[Column]:
    return [
        *_place(rows),
        Column("examples", [f"{one.examples:,}" for one in rows], right=True, dropped=2),
        Column("predicted", [shown(one.value, one.scoring) for one in rows], right=True),
        Column(f"{CONFIDENCE:.0%} interval", [_interval(one) for one in rows], right=True),
        Column("from", [_basis(one) for one in rows], dropped=1),
    ]


def _interval(one: Prediction) -> str:
    return f"{shown(one.low, one.scoring)} to {shown(one.high, one.scoring)}"


def _basis(one: Prediction) -> str:
    if one.law == "joint":
        return "joint law over sizes"
    return f"{len(one.measured)} fractions to {one.measured[-1]}"


def _refused_columns(rows: list[Prediction]) -> list[Column]:
    """Curves of one benchmark that are refused for one reason share a row."""
    alike = grouped(rows, lambda one: (one.scoring.benchmark, str(one.fraction), one.why_not))
    names = [[f"{one.line.model} {one.line.label}" for one in of] for of in alike.values()]
    return [
        Column("benchmark", [benchmark for benchmark, _, _ in alike], good=16, least=8),
        Column("fraction", [fraction for _, fraction, _ in alike], right=True),
        Column("curve", [of[0] if len(of) == 1 else f"{len(of)} curves" for of in names], good=30, least=12),
        Column("why", [why for _, _, why in alike], good=72, least=20),
    ]


def _backtest_columns(rows: list[Backtest]) -> list[Column]:
    def errors(way: str, *, kept: bool = False) -> list[str]:
        values = [(one, one.error(way, kept=kept)) for one in rows]
        return [NONE if value is None else shown(value, one.scoring) for one, value in values]

    return [
        Column("benchmark", [one.scoring.benchmark for one in rows], good=16, least=8),
        Column("from", [f"{one.smallest} fractions" for one in rows]),
        Column("curves", [str(len(one.held)) for one in rows], right=True),
        Column("power law", errors("law"), right=True),
        Column("log-linear", errors("log_linear"), right=True),
        Column("last value", errors("last"), right=True),
        Column("joint law", errors("joint"), right=True, dropped=2),
        Column("in interval", [f"{one.inside}/{len(one.held)}" for one in rows], right=True),
        Column("half-width", [shown(one.half_width, one.scoring) for one in rows], right=True, dropped=1),
        Column("abstains", [f"{one.abstained}/{len(one.held)}" for one in rows], right=True),
    ]
