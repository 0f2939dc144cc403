"""What is to be looked at inside the models of a sweep: representations of queries of its sources."""

from collections.abc import Sequence

from sft_sweeps.identity import canonical_json
from sft_sweeps.plan.request import Request
from sft_sweeps.spec.evaluation import Queries, Representations
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage


def analyses(requests: Sequence[tuple[Stage | Model | Merge, Request]]) -> tuple[Representations, ...]:
    """Those that points ask for, each given with its run's model: of that and of its base model, a base model first.

    All are given the same queries, of every source that any of these points has: else they could not be compared.
    """
    asking = [(subject, request) for subject, request in requests if request.representations]
    sources = {canonical_json(c.source): c.source for _, request in asking for c in request.components}
    found: dict[str, Representations] = {}
    for subject, request in [*((request.model, request) for _, request in asking), *asking]:
        asked, recipe = request.representations, request.recipe
        assert asked is not None
        for source in sources.values():
            queries = Queries(source, asked.queries, asked.seed, recipe.template, recipe.max_length)
            one = Representations(subject, queries, asked.layer, asked.pooling, request.engine.dtype)
            found.setdefault(one.id, one)
    return tuple(found.values())
