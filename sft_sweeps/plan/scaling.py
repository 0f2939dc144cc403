"""How long a stage takes on n GPUs: one formula, with what was measured and what is assumed in it.

    hours = steps * (compute + exchange) + start
    compute   the tokens of the GPU that has most, times operations of a token, a third more with recompute; at 40 % of
              peak (cost.py; measured on one H200: 38.4 % at 1B, 38.6 % at 7B with recompute, docs/speed.md)
    most      max(tokens of a step / n, its longest example): examples are never cut. A source's longest of a step is
              taken for twice its mean (measured over 16: GSM8K 1.65, Code Alpaca 2.26 times, ShareGPT the limit)
    exchange  bytes of a ring, (n - 1) / n of all, none of it behind computation: gradients in fp32 for every row, the
              weights in the step's precision once (ZeRO 2) or twice for every row (ZeRO 3: forward, backward). Beside
              an adapter, gradients and the weights that change are its own. Neither the bytes/s nor what hides behind
              computation was measured.
    start     a minute, reading the parent and writing the model. Assumed.

The mean lengths are the sources' `mean_tokens`. tests/plan/test_scaling.py holds `most` to the shares that training
makes of real lengths.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sft_sweeps.execution import TrainExecution
from sft_sweeps.plan import cost, memory
from sft_sweeps.spec.data import Mixture
from sft_sweeps.spec.evaluation import Generation
from sft_sweeps.spec.training import Recipe, Shape, Stage

LONGEST = 2.0  # of 16 examples, in means
RECOMPUTE = 4 / 3  # operations: the forward pass, a third of all, is made twice
NODE_BANDWIDTH = 200e9  # bytes/s that a ring of GPUs moves within a node over NVLink (A100: 300 one way at most)
START_SECONDS = 60.0
ANSWERED = 1 / 3  # of max_new_tokens: recorded answers had 133 (GSM8K) and 212 (HumanEval) of 512
READING = 1e12  # bytes/s of weights from a GPU's memory while it answers: half of an A100's 2 TB/s


@dataclass(frozen=True, slots=True)
class Cluster:
    """GPUs of one kind: peak operations a second, memory, how many are on a node, bytes/s from node to node."""

    flops: float = cost.A100_FLOPS
    gpu_gb: float = 80.0
    per_node: int = 8
    between: float = NODE_BANDWIDTH

    def bandwidth(self, gpus: int) -> float:
        """Bytes/s of the ring's slowest part."""
        return NODE_BANDWIDTH if gpus <= self.per_node else min(NODE_BANDWIDTH, self.between)


@dataclass(frozen=True, slots=True)
class Way:
    """How a stage runs on so many GPUs, and the hours that it takes."""

    gpus: int
    execution: TrainExecution
    hours: float

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.hours


def longest_example(mixture: Mixture, recipe: Recipe) -> float:
    """Tokens of the longest example that a step is expected to have: a source of few examples is in few steps."""
    total = max(1, mixture.examples)
    lengths = sorted(
        ((min(recipe.max_length, LONGEST * c.source.mean_tokens), c.shown / total) for c in mixture.components),
        reverse=True,
    )
    expected, none_yet, left = 0.0, 1.0, 1.0
    for length, share in lengths:
        left = max(0.0, left - share)  # of the examples, those of shorter sources
        none = left**recipe.batch_size
        expected, none_yet = expected + length * (none_yet - none), none
    return expected


def tokens_of_step(stage: Stage) -> float:
    """Of all its examples, on average."""
    return stage.mixture.tokens * stage.recipe.epochs / max(1, stage.steps)


def most_tokens(stage: Stage, gpus: int) -> float:
    """Tokens that the fullest of the GPUs has in a step."""
    mixture, recipe = stage.mixture, stage.recipe
    if recipe.padded:  # each example is as long as its row's longest
        return math.ceil(recipe.batch_size / gpus) * longest_example(mixture, recipe)
    tokens = tokens_of_step(stage)
    return max(tokens / gpus, min(tokens, longest_example(mixture, recipe)))


def exchanged(shape: Shape, recipe: Recipe, execution: TrainExecution, rows: int) -> float:
    """Bytes that a ring passes to every GPU in a step."""
    weights, trained, gpus = cost.parameters(shape), cost.trained(shape, recipe.adapter), execution.processes
    parted = execution.zero_stage == 3 and weights > execution.whole_parameters
    gathered = 2 * rows * weights if parted else trained
    return (4 * rows * trained + cost.BYTES[recipe.precision] * gathered) * (gpus - 1) / gpus


def step_seconds(stage: Stage, execution: TrainExecution, cluster: Cluster) -> float:
    """Of one optimizer step."""
    recipe, tokens = stage.recipe, tokens_of_step(stage)
    most = most_tokens(stage, execution.processes)
    flops = cost.stage_flops(stage) / max(1, stage.steps)
    compute = flops * (most / tokens if tokens else 1.0) * (RECOMPUTE if execution.recompute else 1.0)
    fit = memory.largest(stage.model.shape, recipe, execution, cluster.gpu_gb * 1e9)
    rows = math.ceil(most / max(1, min(fit, execution.token_budget or fit)))
    exchange = exchanged(stage.model.shape, recipe, execution, rows) if execution.processes > 1 else 0.0
    return compute / (cluster.flops * cost.ASSUMED_UTILIZATION) + exchange / cluster.bandwidth(execution.processes)


def hours(stage: Stage, execution: TrainExecution, cluster: Cluster, steps: int | None = None) -> float:
    """Of a stage, or of so many of its steps."""
    moved = cost.parameters(stage.model.shape) * (cost.BYTES["bf16"] + cost.BYTES[stage.recipe.model_dtype])
    start = START_SECONDS + moved / cost.WRITING
    return (step_seconds(stage, execution, cluster) * (stage.steps if steps is None else steps) + start) / 3600


def sizes(per_node: int, most: int) -> list[int]:
    """The numbers of GPUs that are looked at: those that divide a node, and 1, 2, 4, ... nodes."""
    within = [n for n in range(1, per_node + 1) if per_node % n == 0]
    nodes = [per_node << power for power in range(1, 1 + max(0, most // per_node).bit_length())]
    return [n for n in (*within, *nodes) if n <= most]


def ways(
    stage: Stage, execution: TrainExecution, cluster: Cluster, most: int, *, recompute: bool | None, steps: int
) -> list[Way]:
    """Each number of GPUs, up to `most` and to one for each example of a step, on which the longest example fits.

    `recompute` None: only where it does not fit without. The hours are those of so many `steps`.
    """
    found, most = [], min(most, stage.recipe.batch_size)
    for gpus in sorted({*sizes(cluster.per_node, most), min(most, stage.model.gpus)}):
        tokens = execution.token_budget or stage.recipe.max_length
        how = replace(execution, processes=gpus)
        for choice in (False, True) if recompute is None else (recompute,):
            how = replace(how, recompute=choice)
            if memory.of(stage.model.shape, stage.recipe, how, tokens).total <= cluster.gpu_gb * 1e9:
                found.append(Way(gpus, how, hours(stage, how, cluster, steps)))
                break
    return found


def answer_hours(generations: Sequence[Generation], batch: int, cluster: Cluster) -> float:
    """Of a job that answers benchmarks with one load of the weights: decoding waits for the weights' bytes."""
    seconds = 0.0
    for g in generations:
        shape, benchmark = g.subject.model.shape, g.benchmark
        weights = cost.parameters(shape)
        if benchmark.generates:
            tokens = benchmark.examples * benchmark.samples * benchmark.max_new_tokens * ANSWERED
            seconds += tokens / batch * weights * cost.BYTES[g.engine.dtype] / READING
        else:
            read = benchmark.examples * benchmark.max_length
            seconds += read * 2 * weights / (cluster.flops * cost.ASSUMED_UTILIZATION)
    loaded = max((cost.parameters(g.subject.model.shape) * cost.BYTES[g.engine.dtype] for g in generations), default=0)
    return (seconds + START_SECONDS + loaded / cost.WRITING) / 3600
