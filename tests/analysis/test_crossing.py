"""Where mixed and alone cross: known crossings are found, none is said to be none, intervals cover."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from observed import FRACTIONS, observation, part, setting

from sft_sweeps.analysis import paper
from sft_sweeps.analysis.cells import finals
from sft_sweeps.analysis.crossing import Crossing, cross, crossings, falling
from sft_sweeps.analysis.observations import Observation

AT = [1 / 64, 1 / 16, 1 / 4, 1.0]
differences = st.lists(st.floats(-1, 1), min_size=4, max_size=4)


def scored(alone: list[int], mixed: list[int], n: int = 1000) -> list[Observation]:
    """Right items at each fraction, from the largest down; the items that both get right are the same."""
    made = []
    for fraction, right_alone, right_mixed in zip(FRACTIONS, alone, mixed, strict=False):
        made.append(observation(setting(parts=(part("math", fraction),)), [i < right_alone for i in range(n)]))
        made.append(observation(setting(fraction=fraction), [i < right_mixed for i in range(n)]))
    return made


def only(observations: list[Observation]) -> Crossing:
    (found,) = crossings(finals(observations))
    return found


def test_a_clear_crossing_is_found_where_it_is() -> None:
    found = only(scored([600, 500, 300, 100], [500, 450, 350, 200]))
    assert found.finding == "crosses"
    # from +50 at 1/16 to -50 at 1/4: half way in the logarithm, 1/8
    assert found.value == pytest.approx(1 / 8)
    assert 1 / 16 < found.low <= 1 / 8 <= found.high < 1 / 4
    assert found.shares == {"crosses": 1.0}
    assert not found.rises


@pytest.mark.parametrize(
    ("alone", "mixed", "finding"),
    [([500, 400], [600, 450], "mixed ahead throughout"), ([600, 450], [500, 400], "alone ahead throughout")],
)
def test_none_is_said(alone: list[int], mixed: list[int], finding: str) -> None:
    found = only(scored(alone, mixed))
    assert (found.finding, found.value) == (finding, None)
    assert f"none: {finding}" in found.text()
    assert " to " not in found.text()  # both ends are beyond the data
    assert found.low == found.high == (math.inf if finding.startswith("mixed") else 0)


def test_a_rise_beyond_noise_is_said() -> None:
    found = only(scored([500, 400, 300], [900, 200, 250]))
    assert found.rises
    assert "rises somewhere" in found.text()


def test_noise_makes_an_open_interval() -> None:
    found = only(scored([30, 20, 10], [29, 20, 11], n=60))
    assert found.low < 1 / 16
    assert found.high == math.inf
    assert "above 1" in found.text()


@given(differences)
def test_falling_values_never_rise_and_keep_the_mean(values: list[float]) -> None:
    found = falling(values)
    assert all(a >= b - 1e-12 for a, b in pairwise(found))
    assert sum(found) == pytest.approx(sum(values), abs=1e-9)


@given(differences)
def test_the_crossing_lies_between_the_fractions_where_the_sign_turns(values: list[float]) -> None:
    smooth = falling(values)
    finding, place = cross(AT, smooth)
    ahead = [at for at, value in zip(AT, smooth, strict=True) if value > 0]
    behind = [at for at, value in zip(AT, smooth, strict=True) if value < 0]
    if finding == "crosses":
        assert max(ahead) <= place <= min(behind)
    else:
        assert not (ahead and behind)


def test_less_is_more_for_a_loss() -> None:
    losses = [
        observation(at, [value], metric="loss", share=False, bare=True, n=50, low=value - 0.01, high=value + 0.01)
        for fraction, alone, mixed in ((Fraction(1), 1.0, 1.2), (Fraction(1, 4), 2.0, 1.8))
        for at, value in ((setting(parts=(part("math", fraction),)), alone), (setting(fraction=fraction), mixed))
    ]
    assert only(losses).value == pytest.approx(1 / 2)


def test_the_paper_shows_low_resource_gain_and_high_resource_conflict_with_open_ends() -> None:
    """13B GSM8K: 1/256 and 1/64 are firmly ahead mixed; at 1 it is 0.46 points behind, within noise."""
    found = {(one.model, one.benchmark): one for one in crossings(finals(paper.observations()))}
    firm = found["llama13b", "gsm8k"]
    assert 1 / 64 < firm.low < (firm.value or 0) < 1 / 4
    assert firm.high == math.inf
