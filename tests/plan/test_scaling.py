"""The formula of more GPUs: its parts beside what training does and what can be counted by hand."""

import math
import statistics
from dataclasses import replace
from fractions import Fraction

import pytest
import values
from hypothesis import given
from hypothesis import strategies as st

from bench import lengths
from sft_sweeps.data.encode import batches
from sft_sweeps.execution import TrainExecution
from sft_sweeps.plan import cost, memory, scaling
from sft_sweeps.plan.scaling import Cluster
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.training import Shape, Stage

SEVEN = Shape(4096, 11008, 32, 32, 32, 32000, 2048)
MEANS = {name: statistics.mean(found) for name, found in lengths.LENGTHS.items()}


def stage(profile: str, shape: Shape = SEVEN) -> Stage:
    """Of sources whose shares and mean lengths are the profile's."""
    names = lengths.PROFILES[profile]
    components = [
        values.component(name, "math", rows=1000 * names.count(name), mean_tokens=MEANS[name])
        for name in dict.fromkeys(names)
    ]
    base = values.model("llama7b", shape=shape, gpus=8)
    return values.stage(base, components, max_length=2048, precision="bf16", model_dtype="bf16")


@pytest.mark.parametrize("gpus", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("profile", lengths.PROFILES)
def test_the_fullest_gpu_has_what_training_gives_it(profile: str, gpus: int) -> None:
    """The shares of real lengths that train/steps.py makes, on average over 200 steps."""
    fullest = []
    for batch in lengths.batches(profile, 200, 1000):
        tokens = [len(example.input_ids) for example in batch]
        fullest.append(max(sum(tokens[at] for at in share) for share in batches.share(tokens, gpus)))
    assert scaling.most_tokens(stage(profile), gpus) == pytest.approx(statistics.mean(fullest), rel=0.25)


def test_one_gpu_exchanges_nothing_and_takes_what_the_plan_says() -> None:
    one = stage("mixed")
    start = scaling.hours(one, TrainExecution(), Cluster(), steps=0)
    assert scaling.hours(one, TrainExecution(), Cluster()) - start == pytest.approx(cost.a100_hours(one))
    recomputed = scaling.hours(one, TrainExecution(recompute=True), Cluster()) - start
    assert recomputed == pytest.approx(4 / 3 * cost.a100_hours(one))


def test_a_ring_passes_gradients_and_weights() -> None:
    """7B on 8: of fp32 gradients and bf16 weights, seven eighths; ZeRO 3 gathers them twice for every row."""
    weights, recipe = 6_738_415_616, stage("mixed").recipe
    two, three = (TrainExecution(processes=8, zero_stage=number) for number in (2, 3))
    assert scaling.exchanged(SEVEN, recipe, two, 1) == pytest.approx(weights * 6 * 7 / 8)
    assert scaling.exchanged(SEVEN, recipe, three, 1) == pytest.approx(weights * 8 * 7 / 8)
    assert scaling.exchanged(SEVEN, recipe, three, 3) == pytest.approx(weights * 24 * 7 / 8)


def test_beside_an_adapter_its_own_gradients_are_passed() -> None:
    """Rank 16 on all of 7B's layers; ZeRO 2 passes what has changed, ZeRO 3 gathers the frozen weights too."""
    weights, own = 6_738_415_616, 39_976_960
    recipe = replace(stage("mixed").recipe, adapter=Adapter("lora", 16, 32.0))
    two, three = (TrainExecution(processes=8, zero_stage=number) for number in (2, 3))
    assert scaling.exchanged(SEVEN, recipe, two, 1) == pytest.approx(own * 6 * 7 / 8)
    assert scaling.exchanged(SEVEN, recipe, three, 2) == pytest.approx((8 * own + 8 * weights) * 7 / 8)


@given(st.sampled_from(list(lengths.PROFILES)), st.floats(40, 200), st.sampled_from((4, 8)))
def test_more_gpus_cost_more_where_nothing_else_changes(profile: str, gpu_gb: float, per_node: int) -> None:
    """Every way fits, none has a rank without an example, and GPU-hours rise with the GPUs of one kind of way.

    Of one kind are ways with as many rows on a GPU: more memory for rows saves exchanges.
    """
    one, cluster = stage(profile), Cluster(gpu_gb=gpu_gb, per_node=per_node)
    ways = scaling.ways(one, TrainExecution(token_budget=0), cluster, 64, recompute=None, steps=one.steps)
    assert all(way.gpus <= one.recipe.batch_size and way.execution.processes == way.gpus for way in ways)
    kinds: dict[tuple[bool, int], list[float]] = {}
    for way in ways:
        fit = memory.largest(one.model.shape, one.recipe, way.execution, gpu_gb * 1e9)
        rows = math.ceil(scaling.most_tokens(one, way.gpus) / max(1, fit))
        kinds.setdefault((way.execution.recompute, rows), []).append(way.gpu_hours)
    assert all(alike == sorted(alike) for alike in kinds.values())


def test_a_source_of_few_examples_is_in_few_steps() -> None:
    """One long example in 1,600 short ones: a step of 16 has it in one of a hundred."""
    rare = [values.component("math", rows=1599, mean_tokens=50.0), values.component("code", rows=1, mean_tokens=500.0)]
    one = values.stage(values.model(), rare, max_length=2048)
    assert scaling.longest_example(one.mixture, one.recipe) == pytest.approx(100 + 900 * 0.01, rel=0.01)
    half = replace(rare[0], fraction=Fraction(1, 2))
    assert scaling.longest_example(values.stage(values.model(), [half], max_length=80).mixture, one.recipe) == 100
    assert (
        scaling.longest_example(values.stage(values.model(), [half]).mixture, replace(one.recipe, max_length=80)) == 80
    )
