"""Stages that share a label are told apart by what they differ in."""

from dataclasses import replace
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from values import request

from sft_sweeps.plan.build import build
from sft_sweeps.plan.labels import own_words


@given(
    st.sets(st.integers(0, 5), min_size=1, max_size=3),
    st.sets(st.sampled_from([1e-3, 1e-5, 2e-5]), min_size=1, max_size=2),
    st.sets(st.sampled_from([256, 512]), min_size=1, max_size=2),
    st.sampled_from(["multi_task", "sequential"]),
)
def test_whatever_differs_is_in_the_label_and_nothing_else(
    seeds: set[int], rates: set[float], lengths: set[int], strategy: str
) -> None:
    points = []
    for n, (seed, rate, length) in enumerate(product(sorted(seeds), sorted(rates), sorted(lengths))):
        one = request(strategy=strategy)
        recipe = replace(one.recipe, seed=seed, learning_rate=rate, max_length=length)
        points.append((f"point {n}", replace(one, recipe=recipe)))
    plan = build(points)
    labels = [plan.labels[stage.id] for stage in plan.stages]
    assert len(set(labels)) == len(plan.stages)
    for stage in plan.stages:
        label, recipe = plan.labels[stage.id], stage.recipe
        words = {f"seed={recipe.seed}": len(seeds), f"lr={recipe.learning_rate}": len(rates)}
        words |= {f"max_length={recipe.max_length}": len(lengths)}
        assert label.startswith(stage.label)
        assert set(label.removeprefix(stage.label).split()) == {word for word, several in words.items() if several > 1}


def test_what_only_the_parents_tell() -> None:
    named = {
        "p": ("math", {"recipe": {"seed": 0}}),
        "q": ("math", {"recipe": {"seed": 1}}),
        "a": ("math--code", {"parent": "p", "recipe": {"seed": 3}}),
        "b": ("math--code", {"parent": "q", "recipe": {"seed": 3}}),
        "c": ("other", {}),
    }
    assert own_words(named) == {"p": "seed=0", "q": "seed=1", "a": "after seed=0", "b": "after seed=1", "c": ""}


def test_sources_of_one_seed_say_it_once() -> None:
    def payload(*seeds: int) -> dict[str, object]:
        return {"mixture": [{"seed": seed, "source": {"name": "x", "content": f"sha256:{seed}"}} for seed in seeds]}

    named = {"a": ("m", payload(1, 1)), "b": ("m", payload(2, 2)), "c": ("m", payload(1, 2))}
    assert own_words(named) == {"a": "data.seed=1", "b": "data.seed=2", "c": "data.seed=1,2"}
