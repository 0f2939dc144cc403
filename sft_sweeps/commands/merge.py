"""`sft-sweeps merge`: average finished stages of one parent, score the average as they are scored, say what came out.

It is a launch like any other, of a plan that is made of what the store knows and not of a configuration: the average
and its scores are in a sweep of their own, for `status`, `report` and the others.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.config.fractions import exact
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import console, say

if TYPE_CHECKING:
    from sft_sweeps.commands.show.known import Catalogue, Known
    from sft_sweeps.config.grid import Point
    from sft_sweeps.plan.build import Plan
    from sft_sweeps.spec.evaluation import Generation
    from sft_sweeps.spec.merge import Merge
    from sft_sweeps.spec.training import Stage
    from sft_sweeps.store.sweeps import Sweep

SCHEMA = 1
NAME = "merge"  # of its sweeps


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    which = "finished stages of one parent: the beginning of an id, or a label of a stage or run, or part of one"
    parser.add_argument("stages", nargs="+", metavar="STAGE", help=which)
    shares = "a weight for each stage, in their order, like 0.5,0.3,0.2 or 2,1,1; scaled to a sum of 1 (default: equal)"
    parser.add_argument("--weights", metavar="W,W,...", help=shares)
    add_output_dir(parser)
    add_json(parser)


@dataclass(frozen=True)
class Chosen:
    """A stage that is averaged, with the newest sweep that has it planned, and that sweep's plan."""

    stage: "Stage"
    sweep: "Sweep"
    plan: "Plan"


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.launch.launch import launch
    from sft_sweeps.store.store import Store

    root = Path(options.output_dir)
    weights = parse_weights(options.weights) if options.weights is not None else ()
    chosen = choose(root, options.stages)
    merge = merge_of([one.stage for one in chosen], weights)
    plan = plan_of(merge, chosen)
    point = _point(chosen, root)
    out = console(stderr=options.json)
    say(out, escape(f"{merge.label} ({merge.id}): {', '.join(_parts(merge))}"))
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        outcome = launch(plan, [point])
    if options.json:
        store = Store(root, point.config.store.read_from)
        print_json(SCHEMA, to_json(merge, plan, store, outcome.sweep))
    return outcome.status


def parse_weights(text: str) -> tuple[Fraction, ...]:
    """Exact numbers; RequestError for what is none."""
    return tuple(_weight(word.strip(), text) for word in text.split(","))


def _weight(word: str, text: str) -> Fraction:
    weight = exact(word)
    if weight is None:
        raise RequestError(
            f"--weights {text}: {word or 'nothing'} is no weight; write shares like 0.5,0.3,0.2 or 2,1,1"
        )
    return weight


def choose(root: Path, texts: Sequence[str]) -> list[Chosen]:
    """The stages that are meant; RequestError for one that is no stage, or is not finished with its weights there."""
    from sft_sweeps.commands.show.known import Catalogue
    from sft_sweeps.store.store import Store

    catalogue = Catalogue(Store(root))
    return [_chosen(catalogue, text, root) for text in texts]


def _chosen(catalogue: "Catalogue", text: str, root: Path) -> Chosen:
    from sft_sweeps.identity import plain, revive
    from sft_sweeps.spec.training import Stage
    from sft_sweeps.store.survey import survey

    known = catalogue.find(text)
    name = f"{known.id} {catalogue.name(known)}"
    if known.kind != "stage":
        raise RequestError(f"{name} is a {known.kind}; name stages that were trained from one parent")
    sweep = _planning(known)
    if sweep is None:
        raise RequestError(f"no sweep has {name} planned any more, so nothing says what it is; launch its run again")
    plan = sweep.plan([known.id])
    stage = next(stage for stage in plan.stages if stage.id == known.id)
    state = survey(plan, sweep.store(root)).states[stage.id]
    if state.state != "done":
        why = f" ({state.why})" if state.why else ""
        again = f"launch {sweep.name} again, then merge"
        raise RequestError(f"{name} is {state.state}{why}: only the weights of finished stages average; {again}")
    if revive(Stage, plain(stage)).id != stage.id:
        raise RequestError(f"{name} was trained by an earlier version of what its id is made of; launch its run again")
    return Chosen(stage, sweep, plan)


def _planning(known: "Known") -> "Sweep | None":
    """The newest sweep with a run through a stage, before one that has it only to average it."""
    from sft_sweeps.commands.show.facts import shortest

    named = None
    for sweep in known.sweeps:
        if sweep.readable:
            if shortest(sweep.plan(), known.id):
                return sweep
            named = named or sweep
    return named


def merge_of(stages: "Sequence[Stage]", weights: Sequence[Fraction] = ()) -> "Merge":
    """Their average; RequestError for what has none."""
    from sft_sweeps.spec.merge import merged

    try:
        return merged(stages, weights)
    except ValueError as error:
        raise RequestError(str(error)) from error


def plan_of(merge: "Merge", chosen: Sequence[Chosen]) -> "Plan":
    """The average as a run of its own, asked what all of its stages are asked."""
    from sft_sweeps.plan.build import Plan, Run, score_of

    generations = tuple(_asked(merge, chosen))
    run = Run(f"{merge.model.name} {', '.join(_parts(merge))}", NAME, merge.model, merge.parents, merge=merge)
    return Plan(
        runs=(run,),
        stages=merge.chain,
        generations=generations,
        scores=tuple(map(score_of, generations)),
        rows=1,
        stages_naive=len(merge.chain),
        gpu_hours_naive=0.0,
        models=(merge.model,),
        merges=(merge,),
        notes=() if generations else ("no benchmark is asked of all of these stages, so their average gets no score",),
    )


def _asked(merge: "Merge", chosen: Sequence[Chosen]) -> "Iterator[Generation]":
    """What every one of the stages is asked, in the first one's order; no held-out loss on what any was trained on."""
    from sft_sweeps.plan.build import reaches_heldout

    kept = {stage.id for stage in merge.parents}
    moved = [
        [replace(g, subject=merge) for g in one.plan.generations if g.subject.id == one.stage.id]
        for one in chosen
        if one.stage.id in kept
    ]
    by_stage = [{g.id: g for g in of} for of in moved]
    for key, generation in by_stage[0].items():
        benchmark = generation.benchmark
        seen = benchmark.source is not None and reaches_heldout(merge, benchmark, benchmark.source.rows)
        if not seen and all(key in of for of in by_stage):
            yield generation


def _parts(merge: "Merge") -> list[str]:
    """`1/2 of mini--math`, of each stage."""
    return [f"{weight} of {stage.label}" for stage, weight in sorted(merge.shares, key=lambda share: share[0].label)]


def _point(chosen: Sequence[Chosen], root: Path) -> "Point":
    """How the first stage's run was launched: on which cluster, with which engine; in the store at hand."""
    from sft_sweeps.commands.show.facts import shortest
    from sft_sweeps.launch import again

    first = chosen[0]
    run = shortest(first.sweep.plan(), first.stage.id)
    if run is None:
        raise RequestError(f"the command line of {first.stage.label} is not known, so nothing says how it is scored")
    (point,) = again.points([run.points[0]])
    config = point.config
    read_from = dict.fromkeys(str(other) for one in chosen for other in one.sweep.read_from)
    study = replace(config.study, question="", hypotheses=[])
    stores = replace(config.store, read_from=list(read_from))
    config = replace(config, action="run", name=NAME, output_dir=str(root), study=study, store=stores)
    return replace(point, name="", config=config)


def to_json(merge: "Merge", plan: "Plan", store: Any, sweep: str) -> dict[str, Any]:
    """What `--json` prints: the average as it is now, and its scores."""
    from sft_sweeps.benchmarks.scored import Scored
    from sft_sweeps.report.scores import Scores
    from sft_sweeps.store.survey import survey

    surveyed = survey(plan, store)
    known = Scores(store, surveyed)
    record = surveyed.records.get(merge.id, {})
    scores = {}
    for score in plan.scores:
        with contextlib.suppress(ValueError):
            scored = Scored.from_record(known.record(score) or {}, score.id)
            scores[score.generation.benchmark.name] = {
                "value": scored.value,
                "low": scored.low,
                "high": scored.high,
                "n": scored.n,
            }
    return {
        "id": merge.id,
        "label": merge.label,
        "sweep": sweep,
        "state": surveyed.states[merge.id].state,
        "folder": str(store.read_folder(merge)),
        "parents": [{"id": stage.id, "label": stage.label, "weight": str(weight)} for stage, weight in merge.shares],
        "seconds": record.get("seconds"),
        "digest": record.get("digest", ""),
        "scores": scores,
    }


ABOUT = """\
The weights of stages of one parent are averaged, tensor by tensor, on a CPU: seconds where training takes hours. The
average is a model like any other: known by its stages and weights, scored on what all of them are scored on, in a sweep
of its own. strategy=merge has a launch plan such averages of a mixture's abilities (docs/prediction.md says what they
are worth)."""
COMMAND = Command(
    "merge",
    "average finished stages: a preview of training on all of their data",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps merge STAGE STAGE  # their plain average",
        "sft-sweeps merge STAGE STAGE STAGE --weights 2,1,1 --json",
    ),
    topic="results",
)
