"""`sft-sweeps predict`: from a sweep's small fractions to the large ones that are not run yet, with a backtest.

What is predicted are the sweep's runs without a score and the whole of each source; `--at` names other fractions.
"""

import argparse
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from sft_sweeps.commands.command import Command, add_json, add_output_dir, add_sweep, print_json
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import console

if TYPE_CHECKING:
    from sft_sweeps.analysis.backtest import Backtest
    from sft_sweeps.analysis.fits import Prediction
    from sft_sweeps.analysis.observations import Observation, Setting

SCHEMA = 1


@dataclass(frozen=True)
class Predicted:
    """What is said of a sweep, or of the paper's tables."""

    name: str
    predictions: "list[Prediction]"
    backtests: "list[Backtest]"
    notes: list[str]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    parser.add_argument("--at", metavar="1,1/2", default="1", help="fractions to predict (default: %(default)s)")
    parser.add_argument("--paper", action="store_true", help="the paper's own tables in place of a sweep")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import predict_tables

    predicted = _predicted(options)
    if options.json:
        print_json(SCHEMA, to_json(predicted))
    else:
        predict_tables.show(predicted, console())
    return 0


def _predicted(options: argparse.Namespace) -> Predicted:
    from sft_sweeps.config.fractions import parse_fraction

    fractions = [parse_fraction(text, "--at") for text in options.at.split(",")]
    if options.paper:
        from sft_sweeps.analysis import paper

        return predicted("the paper's tables", paper.observations(), [], fractions)
    from sft_sweeps.report.observe import observations, setting_of

    sweep = find(Store(options.output_dir), options.sweep)
    plan = sweep.plan()
    scored = observations(plan, sweep.store(options.output_dir))
    if not any(one.final and one.setting.parts for one in scored):
        raise RequestError(
            f"no trained run of {sweep.name} is scored yet, so there is nothing to predict from; how far it is: "
            f"{site.command(options.output_dir, 'status', sweep.name)}"
        )
    return predicted(sweep.name, scored, [setting_of(run) for run in plan.runs], fractions)


def predicted(name: str, scored: "list[Observation]", planned: "list[Setting]", fractions: list[Fraction]) -> Predicted:
    """From scores: of the planned settings and of every line's `fractions`, what is not measured."""
    from sft_sweeps.analysis import backtest, predict

    fits, notes = predict.fitted(scored)
    if not fits:
        notes.append(
            "no run lies on a curve, which is of runs that take one fraction of all their sources and are scored on an "
            "ability that they are trained on; e.g. data.fraction=1/256,1/64,1/16"
        )
    settings = [*planned, *(one.setting for one in scored if one.final)]
    wanted = [*planned, *predict.at_fractions(settings, fractions)]
    return Predicted(name, predict.predictions(fits, wanted), backtest.backtests(fits), notes)


def to_json(predicted: Predicted) -> dict[str, Any]:
    """Every number, for scripts; where no prediction is made, `why_not` says why and there are no numbers."""
    from sft_sweeps.stats import CONFIDENCE

    return {
        "name": predicted.name,
        "confidence": CONFIDENCE,
        "predictions": [_prediction_json(one) for one in predicted.predictions],
        "backtest": [_backtest_json(one) for one in predicted.backtests],
        "notes": predicted.notes,
    }


def _place_json(one: "Prediction") -> dict[str, Any]:
    return {
        "benchmark": one.scoring.benchmark,
        "metric": one.scoring.metric,
        "ability": one.scoring.ability,
        "model": one.line.model,
        "parameters": one.line.parameters,
        "arm": one.line.arm,
        "k": None if one.line.k is None else str(one.line.k),
        "sources": [source for _, source, _ in one.line.sources],
        "fraction": str(one.fraction),
        "examples": one.examples,
        "measured": list(map(str, one.measured)),
        "law": one.law,
        "why_not": one.why_not,
    }


def _prediction_json(one: "Prediction") -> dict[str, Any]:
    numbers = {"value": one.value, "low": one.low, "high": one.high}
    return _place_json(one) | {key: None if one.why_not else value for key, value in numbers.items()}


def _backtest_json(one: "Backtest") -> dict[str, Any]:
    from sft_sweeps.analysis.backtest import WAYS

    held = [
        _place_json(h.prediction)
        | {"value": h.law, "low": h.prediction.low, "high": h.prediction.high}
        | {"measured_value": h.measured, "log_linear": h.log_linear, "last": h.last, "joint": h.joint}
        for h in one.held
    ]
    return {
        "benchmark": one.scoring.benchmark,
        "smallest_fractions": one.smallest,
        "mean_absolute_error": {way: one.error(way) for way in WAYS},
        "mean_absolute_error_kept": one.error("law", kept=True),
        "abstained": one.abstained,
        "inside": one.inside,
        "held_out": held,
    }


ABOUT = """\
What is predicted are the runs of the sweep without a score, and the whole of each source; always with a backtest.
docs/prediction.md has the law, its interval, and when nothing is predicted."""
COMMAND = Command(
    "predict",
    "the scores of the large fractions from the small ones, with a backtest",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps predict SWEEP",
        "sft-sweeps predict SWEEP --at 1,1/2",
        "sft-sweeps predict --paper  # the paper's own tables",
    ),
    topic="results",
)
