"""The batches of a stage, step by step, as rows on this rank's device, made while the step before computes.

The examples of a step, how they are spread over ranks and how many bins each rank needs follow from the data alone, so
every rank knows them all.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from sft_sweeps.data.encode import batches
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.execution import TrainExecution
from sft_sweeps.spec import Recipe
from sft_sweeps.train import loss


@dataclass(frozen=True, slots=True)
class Batch:
    """The examples of a step with the weight of a supervised token of each, and every rank's bins of places in it."""

    examples: list[Encoded]
    weights: list[float]
    bins: list[list[list[int]]]  # [rank][bin][place]

    def rows(self, rank: int) -> list[tuple[list[Encoded], list[float]]]:
        """A rank's bins; as many on every rank: one that has fewer runs its shortest example at weight zero."""
        most = max(len(of_rank) for of_rank in self.bins)
        filled = [([self.examples[at] for at in row], [self.weights[at] for at in row]) for row in self.bins[rank]]
        filler = min(self.examples, key=lambda example: len(example.input_ids))
        return filled + [([filler], [0.0])] * (most - len(filled))


def plan_batch(examples: list[Encoded], recipe: Recipe, execution: TrainExecution) -> Batch:
    """Spread the examples of a step over ranks and bins."""
    lengths = [len(example.input_ids) for example in examples]
    weight = loss.token_weights([loss.supervised_tokens(example) for example in examples], recipe)
    bins = []
    for share in batches.share(lengths, execution.processes):
        packed = batches.bins([lengths[at] for at in share], execution.token_budget)
        bins.append([[share[place] for place in row] for row in packed])
    return Batch(examples, weight, bins)


def prepared(
    encoded: Sequence[Encoded],
    recipe: Recipe,
    execution: TrainExecution,
    steps: Sequence[int],
    seat: tuple[int, torch.device],
) -> Iterator[tuple[Batch, list[loss.Bin]]]:
    """Each step's batch and the rows of a seat: its rank, and the device where they are put."""
    ids, (rank, device) = tuple(example.id for example in encoded), seat

    def make(step: int) -> tuple[Batch, list[loss.Bin]]:
        places = batches.batch(ids, recipe.seed, recipe.batch_size, step)
        batch = plan_batch([encoded[place] for place in places], recipe, execution)
        return batch, [loss.to_row(examples, weights, device) for examples, weights in batch.rows(rank)]

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = thread.submit(make, steps[0]) if steps else None
        for following in (*steps[1:], None):
            if coming is None:
                return
            ready = coming.result()
            coming = None if following is None else thread.submit(make, following)
            yield ready
