"""The batches of a stage, step by step, as bins on this rank's device, made while the step before computes.

The examples of a step, how they are spread over ranks and how many bins each rank needs follow from the data alone, so
every rank knows them all.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sft_sweeps.data.encode import batches
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.spec.training import Recipe
from sft_sweeps.train import loss
from sft_sweeps.train.engine import TrainEngine


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of a step, the weight of a supervised token of each, and every rank's bins (indices of examples)."""

    examples: list[Encoded]
    weights: list[float]
    bins: list[list[list[int]]]  # [rank][bin][example]

    def of_rank(self, rank: int) -> list[tuple[list[Encoded], list[float]]]:
        """A rank's bins as (examples, weights); as many on every rank, its shortest example at weight zero as filler.

        All ranks run as many forward passes, since each passes through the same collectives.
        """
        most = max(map(len, self.bins))
        filled = [([self.examples[at] for at in each], [self.weights[at] for at in each]) for each in self.bins[rank]]
        filler = min(self.examples, key=lambda example: len(example.input_ids))
        return filled + [([filler], [0.0])] * (most - len(filled))

    def losses_by_source(self, rank: int, bins: Sequence[loss.Bin], sources: Sequence[str]) -> list[float]:
        """Of each source the sum of its tokens' losses, after a forward pass over a rank's bins; without fillers."""
        sums = dict.fromkeys(sources, 0.0)
        for indices, packed in zip(self.bins[rank], bins, strict=False):
            examples = [self.examples[at] for at in indices]
            for example, total in zip(examples, loss.of_examples(packed, examples), strict=True):
                sums[example.source] += total
        return list(sums.values())


def plan_batch(examples: list[Encoded], recipe: Recipe, processes: int, token_budget: int) -> Batch:
    """Spread the examples of a step over ranks, and those of each rank over bins of at most `token_budget` tokens.

    Of padded rows, padding counts.
    """
    lengths = [len(example.input_ids) for example in examples]
    counts = [loss.supervised_tokens(example) for example in examples]
    weights = loss.token_weights(counts, recipe, [example.weight for example in examples])
    return Batch(examples, weights, spread(lengths, processes, token_budget, padded=recipe.padded))


def spread(lengths: Sequence[int], processes: int, token_budget: int, *, padded: bool) -> list[list[list[int]]]:
    """Every rank's bins of examples of these lengths: [rank][bin][example]."""
    bins, arrange = [], batches.padded_bins if padded else batches.bins
    for share in batches.share(lengths, processes):
        packed = arrange([lengths[at] for at in share], token_budget)
        bins.append([[share[at] for at in each] for each in packed])
    return bins


def prepared(
    engine: TrainEngine, encoded: Sequence[Encoded], recipe: Recipe, steps: Sequence[int]
) -> Iterator[tuple[Batch, list[loss.Bin]]]:
    """Each step's batch and this rank's bins of it, on the engine's device."""
    shown, token_budget = batches.shown(encoded, recipe), engine.token_budget

    def make(step: int) -> tuple[Batch, list[loss.Bin]]:
        indices = batches.batch(shown, recipe.seed, recipe.batch_size, step)
        batch = plan_batch([encoded[index] for index in indices], recipe, engine.processes, token_budget)
        return batch, [
            loss.to_bin(examples, weights, engine.device, padded=recipe.padded)
            for examples, weights in batch.of_rank(engine.rank)
        ]

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = thread.submit(make, steps[0]) if steps else None
        for following in (*steps[1:], None):
            if coming is None:
                return
            ready = coming.result()
            coming = None if following is None else thread.submit(make, following)
            yield ready
