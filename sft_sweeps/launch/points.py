"""The points of a sweep, all checked together before anything is planned."""

from collections.abc import Sequence

from sft_sweeps.config.checks import problems
from sft_sweeps.config.grid import Point
from sft_sweeps.config.resolve import request
from sft_sweeps.errors import RequestError, summary
from sft_sweeps.identity import canonical, digest
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.request import Request

# What belongs to the launch as a whole, so that no point may differ in it.
GLOBAL = ("action", "name", "output_dir", "store", "cluster", "deepspeed", "sandbox", "tracking", "plan", "inspect")


def check(points: Sequence[Point]) -> None:
    """RequestError with every problem of every point."""
    found = [(point.name, problems(point.config)) for point in points]
    if any(texts for _, texts in found):
        raise RequestError(summary(found))
    for key in GLOBAL:
        values = {str(getattr(point.config, key)) for point in points}
        if len(values) > 1:
            raise RequestError(f"{key} cannot be swept: it belongs to the whole launch. Launch once for each value.")


def requests(points: Sequence[Point]) -> list[tuple[str, Request]]:
    """Every point's name and exact values; RequestError with what the files of all points show to be wrong."""
    found: list[tuple[str, Request]] = []
    wrong: list[tuple[str, list[str]]] = []
    for point in points:
        try:
            found.append((point.name, request(point.config)))
            wrong.append((point.name, []))
        except RequestError as error:
            wrong.append((point.name, [str(error)]))
    if len(found) < len(points):
        raise RequestError(summary(wrong))
    return found


def check_columns(plan: Plan) -> None:
    """RequestError where one model would be given two scores of one benchmark, which a table has one column for."""
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
        raise RequestError(
            f"{len(judges)} judges ({', '.join(sorted(judges.values()))}) would grade one column, and their grades "
            "differ; keys of evaluate.mt_bench.judge cannot be swept. Launch once for each judge."
        )
