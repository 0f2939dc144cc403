"""What a plan says of its points: keys that mean nothing to them, and what is not trained or scored."""

from collections.abc import Iterator, Sequence

from sft_sweeps.plan.request import Request
from sft_sweeps.spec.training import Stage
from sft_sweeps.strategies import uses_k


def of_point(label: str, request: Request, stages: Sequence[Stage]) -> Iterator[str]:
    """Those of one point; `label` is its run's."""
    yield from request.notes
    if request.k is not None and not uses_k(request.strategy):
        yield f"strategy.k means nothing to strategy={request.strategy} and is ignored"
    for key in _ignored(request, stages):
        yield f"{label}: {key} means nothing where no stage has several sources, and is ignored"
    for c in (c for stage in stages for c in stage.mixture.components if not c.examples):
        yield f"{label}: {c.fraction} of {c.source.name} is no example; nothing of it is replayed"


def _ignored(request: Request, stages: Sequence[Stage]) -> Iterator[str]:
    """The keys that say how sources compare, where no stage of a run has several."""
    alone = all(len(stage.mixture.components) == 1 for stage in stages)
    if alone and any(c.weight != 1 for c in request.components):
        yield "data.weight"
    if alone and request.recipe.order != "shuffled":
        yield f"data.order={request.recipe.order}"


def not_scored(names: Sequence[str], examples: int) -> str:
    """That some sources have no held-out loss of so many examples."""
    return (
        f"held-out loss of {', '.join(names)} is not scored where a run trains on all but fewer than {examples} "
        f"examples of it; data.heldout={examples} would keep as many apart (or fewer, with evaluate.examples)"
    )
