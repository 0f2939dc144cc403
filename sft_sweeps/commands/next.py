"""`sft-sweeps next`: which missing runs of a sweep would most probably change a conclusion, for each hour they cost.

`--launch` launches them, as `sft-sweeps launch` would with their command lines.
"""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sft_sweeps.commands.command import Command, add_json, add_output_dir, add_sweep, print_json
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, find
from sft_sweeps.terminal import console

if TYPE_CHECKING:
    from sft_sweeps.analysis.next_runs import Advice, Board, Candidate, Choice
    from sft_sweeps.analysis.observations import Setting
    from sft_sweeps.plan.build import Plan

SCHEMA = 1


@dataclass(frozen=True)
class Next:
    """What is said of a sweep; `boards` are as things stand now, `unit` what the hours are."""

    name: str
    budget: float
    advice: "Advice"
    boards: "list[Board]"
    unit: str


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    parser.add_argument(
        "--budget",
        type=float,
        default=100.0,
        help="GPU-hours to spend; without GPUs, percent of the sweep (default: %(default)g)",
    )
    add_output_dir(parser)
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--launch", action="store_true", help="launch the runs")
    add_json(output)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.commands import next_tables

    if not 0 <= options.budget < float("inf"):
        raise RequestError(f"--budget={options.budget:g} is no cost; write it like --budget 100")
    sweep = find(Store(options.output_dir), options.sweep)
    plan = sweep.plan()
    made = advised(plan, sweep, options.output_dir, options.budget)
    if options.json:
        print_json(SCHEMA, to_json(made))
    else:
        next_tables.show(made, console())
    chosen = {one.run for choice in made.advice.choices for one in choice.candidates}
    return _launch(plan, chosen) if options.launch and chosen else 0


def advised(plan: "Plan", sweep: Sweep, output_dir: str, budget: float) -> Next:
    """From what the store has of a plan."""
    from sft_sweeps.analysis import next_runs
    from sft_sweeps.report.candidates import candidates, needs_gpus
    from sft_sweeps.report.observe import observations, setting_of
    from sft_sweeps.store.survey import survey

    store = sweep.store(output_dir)
    settings = {run.id: setting_of(run) for run in plan.runs}
    boards = next_runs.boards(observations(plan, store), list(settings.values()), _stated(plan, settings))
    if not boards:
        raise RequestError(
            f"no run of {sweep.name} is scored yet, so nothing is known that a run could change; begin with its "
            f"smallest fractions. How far it is: {site.command(output_dir, 'status', sweep.name)}"
        )
    unit = "GPU-hours" if needs_gpus(plan) else "% of the sweep's training"
    advice = next_runs.advise(boards, candidates(survey(plan, store, thorough=False)), budget, unit=unit)
    return Next(sweep.name, budget, advice, boards, unit)


def _stated(plan: "Plan", settings: "dict[str, Setting]") -> "dict[str, list[tuple[Setting, Setting]]]":
    """The pairs of a study's hypotheses, by benchmark."""
    stated: dict[str, list[tuple[Setting, Setting]]] = {}
    for one in plan.hypotheses:
        stated.setdefault(one.benchmark, []).extend((settings[a], settings[b]) for a, b in one.pairs)
    return stated


def _launch(plan: "Plan", chosen: set[str]) -> int:
    """The runs as they were asked for; nothing is launched where they would not be the same runs any more."""
    from sft_sweeps.launch import again, points, run

    composed = again.points([one.points[0] for one in plan.runs if one.id in chosen])
    if {one.id for one in points.planned(composed).runs} != chosen:
        raise RequestError("the runs would be others than the sweep's: their study, a source or a default has changed")
    return run.run(composed)


def to_json(made: Next) -> dict[str, Any]:
    """Every choice, and every conclusion as it stands now."""
    return {
        "sweep": made.name,
        "unit": made.unit,
        "budget": made.budget,
        "hours": made.advice.hours,
        "stopped": made.advice.stopped,
        "choices": [_choice_json(one) for one in made.advice.choices],
        "conclusions": [one for board in made.boards for one in _conclusions_json(board)],
    }


def _choice_json(choice: "Choice") -> dict[str, Any]:
    return {
        "runs": [_candidate_json(one) for one in choice.candidates],
        "hours": choice.hours,
        "expected_gain": choice.gain,
        "likely": [
            {"benchmark": benchmark, "kind": one.kind, "conclusion": one.text, "probability": chance}
            for chance, benchmark, one in choice.likely
        ],
    }


def _candidate_json(one: "Candidate") -> dict[str, Any]:
    return {"id": one.run, "label": one.label, "stages": [{"id": stage, "hours": hours} for stage, hours in one.stages]}


def _conclusions_json(board: "Board") -> list[dict[str, Any]]:
    rows = zip(board.conclusions, board.means(), board.sure(), board.states(), strict=True)
    return [
        {
            "benchmark": board.scoring.benchmark,
            "kind": one.kind,
            "conclusion": one.text,
            "holds": None if one.second is None else bool(mean > 0),
            "probability": float(sure),
            "state": state,
        }
        for one, mean, sure, state in rows
    ]


ABOUT = """\
Missing runs are those of the sweep's plan without a score. docs/prediction.md says how the chance is computed that one
of them changes which arm is best."""
COMMAND = Command(
    "next",
    "which missing runs would change a conclusion, for the hours they cost",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps next SWEEP",
        "sft-sweeps next SWEEP --budget 10 --json",
    ),
    topic="results",
)
