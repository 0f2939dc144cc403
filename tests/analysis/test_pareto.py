"""Pareto fronts: what dominates what, and how sure that is."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from observed import observation, setting

from sft_sweeps.analysis import paper
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.analysis.pareto import Front, fronts, undominated

values = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 3)), elements=st.integers(0, 3).map(float))


@given(values)
def test_a_setting_is_on_the_front_where_none_dominates_it(table: np.ndarray) -> None:
    found = undominated(table[:, :, None])[:, 0]
    for index, row in enumerate(table):
        dominated = any(all(other >= row) and any(other > row) for other in table)
        assert found[index] == (not dominated)
    assert found.any()


def scored(right: dict[str, tuple[int, int]], n: int = 1000) -> list[Observation]:
    """Right items on two benchmarks by strategy; the same ones first."""
    made = []
    for name, counts in right.items():
        strategy, _, k = name.partition(" ")
        at = setting(strategy, k=Fraction(k) if k else None)
        for benchmark, count in zip(("gsm8k", "humaneval"), counts, strict=True):
            made.append(observation(at, [i < count for i in range(n)], benchmark))
    return made


def front(observations: list[Observation]) -> Front:
    (found,) = fronts(observations)
    return found


def test_a_clear_front_is_sure() -> None:
    found = front(scored({"multi_task": (900, 100), "sequential": (100, 50), "dmt 1/4": (500, 800)}))
    assert {one.name: (one.on_front, one.membership) for one in found.candidates} == {
        "multi_task": (True, 1.0),
        "sequential": (False, 0.0),
        "dmt k=1/4": (True, 1.0),
    }


def test_a_tie_within_noise_is_not_sure() -> None:
    rng = np.random.default_rng(0)
    at = [setting("dmt", k=k) for k in (Fraction(1), Fraction(1, 4), Fraction(1, 16))]
    noise = [observation(one, rng.random(100) < 0.5, name) for one in at for name in ("gsm8k", "humaneval")]
    assert all(0.1 < one.membership < 0.95 for one in front(noise).candidates)


def test_what_lacks_a_benchmark_is_left_out_and_named() -> None:
    three = scored({"multi_task": (900, 100), "sequential": (100, 50), "dmt 1/4": (500, 800)})
    found = front([*three, *scored({"mixed_sequential": (990, 990)})[:1]])
    assert found.left_out == ("mixed_sequential",)
    assert len(found.candidates) == 3


def test_groups_never_mix_and_two_settings_are_no_front() -> None:
    two = scored({"multi_task": (900, 100), "dmt 1/4": (500, 800)})
    other = [observation(setting("sequential", variant="lr"), [1, 0], name) for name in ("gsm8k", "humaneval")]
    assert fronts([*two, *other]) == []


def test_the_papers_headline_setting_is_surely_on_the_33b_front() -> None:
    (found,) = (one for one in fronts(paper.observations()) if one.model == "llama33b")
    sure = {one.name: one.membership for one in found.candidates}
    assert max(sure, key=lambda name: sure[name]) == "dmt k=1/256"
    assert sure["dmt k=1/256"] > 0.9 > sure["mixed_sequential"]
