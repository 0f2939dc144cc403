"""The points of a sweep, all checked together before anything is planned."""

from collections.abc import Sequence
from operator import attrgetter

from sft_sweeps.benchmarks.registry import definitions
from sft_sweeps.config import checks
from sft_sweeps.config.grid import Point
from sft_sweeps.config.resolve import request
from sft_sweeps.errors import RequestError, summary
from sft_sweeps.identity import canonical, digest
from sft_sweeps.launch import launchers
from sft_sweeps.plan import build as planning
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.hypotheses import Hypothesis
from sft_sweeps.plan.request import Request

# What belongs to the launch as a whole, so that no point may differ in it.
GLOBAL = (
    *("action", "name", "output_dir", "store", "cluster", "deepspeed", "sandbox", "tracking", "plan", "inspect"),
    "train.lora.save",
)


def check(points: Sequence[Point]) -> None:
    """RequestError with every problem that the text of any point shows, or a key that cannot be swept."""
    by_point = [(point.name, [*checks.problems(point.config), *launchers.problems(point.config)]) for point in points]
    if any(texts for _, texts in by_point):
        raise RequestError(summary(by_point))
    for key in GLOBAL:
        values = {str(attrgetter(key)(point.config)) for point in points}
        if len(values) > 1:
            raise RequestError(f"{key} cannot be swept: it belongs to the whole launch. Launch once for each value.")


def requests(points: Sequence[Point]) -> list[tuple[str, Request]]:
    """Every point's name and exact values; RequestError with everything that their files show to be wrong."""
    resolved: list[tuple[str, Request]] = []
    by_point: list[tuple[str, list[str]]] = []
    for point in points:
        try:
            resolved.append((point.name, request(point.config)))
            by_point.append((point.name, []))
        except RequestError as error:
            by_point.append((point.name, [str(error)]))
    if len(resolved) < len(points):
        raise RequestError(summary(by_point))
    return resolved


def planned(points: Sequence[Point]) -> Plan:
    """The plan of the points; RequestError where nothing could be shown of what they ask for."""
    plan = planning.build(requests(points), hypotheses(points))
    check_columns(plan)
    check_scored(plan, points)
    check_analyses(plan)
    return plan


def check_analyses(plan: Plan) -> None:
    """RequestError where representations would be taken of the queries of one source, which nothing tells apart."""
    sources = {one.queries.source.name for one in plan.analyses}
    if len(sources) == 1:
        raise RequestError(
            f"analysis=representations compares the queries of several sources, and these points have {sources.pop()} "
            "alone; choose data=mixed (or data=mini), or leave the analysis out: analysis=none"
        )


def hypotheses(points: Sequence[Point]) -> list[Hypothesis]:
    """What the studies of the points say in advance."""
    said = (one for point in points for one in point.config.study.hypotheses)
    return list(dict.fromkeys(Hypothesis(one.claim, one.benchmark, one.better, one.than) for one in said))


def check_scored(plan: Plan, points: Sequence[Point]) -> None:
    """RequestError where a benchmark that was named scores no run, or nothing is scored and nobody typed that."""
    scored = {generation.benchmark.name.partition(":")[0] for generation in plan.generations}
    named = dict.fromkeys(name for point in points for name in point.config.evaluate.benchmarks)
    if useless := [name for name in named if name not in scored]:
        out = "leave it out" if scored else "type evaluate=none to train without scores"
        why = "; ".join(plan.not_scored)
        raise RequestError(f"evaluate.benchmarks={','.join(useless)} scores no run of this sweep: {why}. Or {out}.")
    if not scored and not all(point.config.evaluate.unscored for point in points):
        valid = ", ".join(definitions())
        raise RequestError(
            f"evaluate.benchmarks=[] names nothing to score; name benchmarks ({valid}), or type evaluate=none to train "
            "without scores"
        )


def check_columns(plan: Plan) -> None:
    """RequestError where a model would get two scores of one benchmark: a table has one column for each benchmark."""
    protocols: dict[tuple[str, str], str] = {}
    for generation in plan.generations:
        key = (generation.subject.id, generation.benchmark.name)
        if protocols.setdefault(key, generation.id) != generation.id:
            raise RequestError(
                f"{generation.subject.label} would be scored on {generation.benchmark.name} in two ways; "
                "keys of evaluate cannot be swept, nor train.template without training. Launch once for each value."
            )
    judges = {digest(canonical(judge)): judge.model for judge in plan.judges}
    if len(judges) > 1:
        judged = sorted({generation.benchmark.name for generation in plan.generations if generation.benchmark.judge})
        keys = ", ".join(f"evaluate.{name}.judge" for name in judged)
        raise RequestError(
            f"{len(judges)} judges ({', '.join(sorted(judges.values()))}) would grade one column, and their grades "
            f"differ; keys of {keys} cannot be swept. Launch once for each judge."
        )
