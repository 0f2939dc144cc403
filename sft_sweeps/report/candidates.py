"""The runs of a plan that lack a score, with what is missing of their stages: what `sft-sweeps next` chooses from."""

from collections.abc import Callable, Iterator

from sft_sweeps.analysis.next_runs import Candidate
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.report.observe import setting_of
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.survey import Survey

COMING = "running"  # a stage that is on its way costs nothing more


def candidates(surveyed: Survey) -> list[Candidate]:
    """Every run of which a final score is missing, in the plan's order."""
    plan, hours = surveyed.plan, hours_of(surveyed.plan)
    lacking = {s.generation.subject.id for s in plan.scores if surveyed.states[s.id].state != "done"}
    return [
        Candidate(run.id, run.label, setting_of(run), tuple(_missing(run, surveyed, hours)))
        for run in plan.runs
        if run.id in lacking
    ]


def needs_gpus(plan: Plan) -> bool:
    """Whether its costs are GPU-hours."""
    return any(stage.model.gpus for stage in plan.stages)


def hours_of(plan: Plan) -> Callable[[Stage], float]:
    """GPU-hours of a stage, or without GPUs the percentage that it is of all of the plan's training."""
    if needs_gpus(plan):
        return cost.gpu_hours
    whole = sum(map(cost.a100_hours, plan.stages)) or 1.0
    return lambda stage: 100 * cost.a100_hours(stage) / whole


def _missing(run: Run, surveyed: Survey, hours: Callable[[Stage], float]) -> Iterator[tuple[str, float]]:
    """Its stages after the last one whose weights are there; of those side by side, every one without."""
    states = [surveyed.states[stage.id].state for stage in run.stages]
    if run.merge:
        lacking = [(stage, state) for stage, state in zip(run.stages, states, strict=True) if state != "done"]
    else:
        start = max((number + 1 for number, state in enumerate(states) if state == "done"), default=0)
        lacking = list(zip(run.stages[start:], states[start:], strict=True))
    for stage, state in lacking:
        yield stage.id, 0.0 if state == COMING else hours(stage)
