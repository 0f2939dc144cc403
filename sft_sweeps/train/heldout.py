"""Losses on examples that no stage was trained on, of each source, while a stage trains (`evaluate.heldout_every`).

They are the last examples of a source's seeded order, those that the benchmark heldout_loss takes its loss on too. The
sources are those of the stage and of the stages before it, so that forgetting is seen where it happens. Nothing but
losses comes of it, no gradient and no random number: weights and resume states are the same to the bit without it.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from sft_sweeps.data.encode.encoded_source import EncodedSource
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.data.encode.mixture import heldout
from sft_sweeps.plan.build import reaches_last, seen
from sft_sweeps.spec.data import Component, Source
from sft_sweeps.spec.training import Stage
from sft_sweeps.train import loss, ranks
from sft_sweeps.train.engine import TrainEngine
from sft_sweeps.train.steps import Batch, spread

log = logging.getLogger(__name__)


def heldout_of(stage: Stage, find: Callable[[Source], EncodedSource | None], count: int) -> list[Encoded]:
    """The last `count` examples of each source of a stage and of those before it; of one whose last are trained, none.

    A source that earlier stages were trained on is left out where it is not encoded here.
    """
    components = {c.source.name: c for one in stage.chain for c in one.mixture.components}
    examples: list[Encoded] = []
    for name, component in sorted(components.items()):
        found = _last(stage, component, find(component.source), count)
        if not found:
            log.info("no held-out loss of %s: it is not encoded here, or its last %d examples are trained", name, count)
        examples += found
    return examples


def _last(stage: Stage, component: Component, encoded: EncodedSource | None, count: int) -> list[Encoded]:
    orders = {c.seed for c in seen(stage, component.source)}
    if encoded is None or len(orders) > 1 or reaches_last(stage, component.source, count, len(encoded)):
        return []
    return heldout(encoded, component.seed, count)


class HeldOut:
    """The held-out examples laid out for an engine, and their losses every so many steps and after the last."""

    def __init__(self, engine: TrainEngine, examples: Sequence[Encoded], *, padded: bool = False) -> None:
        self._engine, self._padded = engine, padded
        self._every = engine.execution.heldout_every if examples else 0
        lengths = [len(example.input_ids) for example in examples]
        bins = spread(lengths, engine.processes, engine.token_budget, padded=padded)
        self._batch = Batch(list(examples), [0.0] * len(examples), bins)
        self._tokens: Counter[str] = Counter()
        for example in examples:
            self._tokens[example.source] += loss.supervised_tokens(example)

    def after(self, step: int, steps: int) -> dict[str, float] | None:
        """Of each source the mean over its supervised tokens, on every rank; None where none is due."""
        if not self._every or (step % self._every and step < steps):
            return None
        engine, names = self._engine, list(self._tokens)
        bins = [loss.to_bin(*one, engine.device, padded=self._padded) for one in self._batch.of_rank(engine.rank)]
        engine.take_losses(bins)
        sums = ranks.sums(self._batch.losses_by_source(engine.rank, bins, names))
        return {name: total / self._tokens[name] for name, total in zip(names, sums, strict=True)}
