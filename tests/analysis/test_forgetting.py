"""Changes by stage and backward transfer: one sign, shared stages once, paired where items are known."""

from dataclasses import replace
from fractions import Fraction

import pytest
from observed import observation, setting, study

from sft_sweeps.analysis.forgetting import backward_transfer, changes
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.stats import paired_proportions, proportion

N = 100


def chain(right: list[int], strategy: str = "mixed_sequential", seed: int = 0, **changes: object) -> list[Observation]:
    """A run's scores on gsm8k after base, code+math and general."""
    at = setting(strategy, seed=seed)
    names = ("base", "code+math", "general")
    return [
        observation(
            at, [i < count for i in range(N)], stage=stage, final=stage == 2, stage_label=names[stage],
            subject=f"{seed}/{stage}", **changes,
        )
        for stage, count in enumerate(right)
    ]  # fmt: skip


def test_gains_are_positive_and_forgetting_negative() -> None:
    taught, forgot = changes(chain([10, 60, 40]))
    assert (taught.path, taught.trained, forgot.path, forgot.trained) == (
        ("base", "code+math"),
        True,
        ("base", "code+math", "general"),
        False,
    )
    assert taught.change.value == pytest.approx(0.5)
    assert forgot.change.value == pytest.approx(-0.2)
    assert forgot.change.low < -0.2 < forgot.change.high < 0


def test_of_one_seed_the_interval_is_the_paired_one() -> None:
    (_, forgot) = changes(chain([10, 60, 40]))
    after, before = ([i < count for i in range(N)] for count in (40, 60))
    assert forgot.change == paired_proportions(after, before).interval


def test_seeds_are_paired_with_themselves() -> None:
    """Two seeds far apart that both lose 20 points: the loss is sure, though the scores are not."""
    two = [*chain([10, 90, 70], seed=0), *chain([10, 50, 30], seed=1)]
    (_, forgot) = changes(two)
    assert forgot.seeds == (0, 1)
    assert forgot.change.value == pytest.approx(-0.2)
    assert forgot.change.high < -0.1


def test_a_stage_that_changed_no_answer_of_any_seed_may_have_changed_some() -> None:
    """As much either way."""
    (_, unchanged) = changes([one for seed in range(3) for one in chain([10, 60, 60], seed=seed)])
    assert unchanged.change.value == 0
    assert unchanged.change.low == pytest.approx(-unchanged.change.high)
    assert unchanged.change.high == pytest.approx(proportion(0, N).high)


def test_of_a_loss_less_is_a_gain() -> None:
    before, after = (
        observation(
            setting("sequential"), [value], bare=True, metric="loss", share=False, low=value - 0.1, high=value + 0.1,
            stage=stage, final=stage == 1, stage_label=("code", "general")[stage], subject=str(stage),
        )
        for stage, value in enumerate((2.0, 1.5))
    )  # fmt: skip
    (change,) = changes([before, after])
    assert change.change.value == pytest.approx(0.5)
    assert change.change.low == pytest.approx(0.5 - 0.1 * 2**0.5)


def test_a_stage_that_runs_share_is_there_once() -> None:
    runs = []
    for k in (Fraction(1), Fraction(1, 4)):
        for one in chain([10, 60, 40], "dmt"):
            at = replace(one.setting, k=k)
            subject = f"{k}" if one.final else one.subject
            runs.append(replace(one, setting=at, subject=subject, run=str(k)))
    assert [one.path[-1] for one in changes(runs)] == ["code+math", "general", "general"]


def test_backward_transfer_is_from_first_training_to_the_end() -> None:
    (found,) = backward_transfer(chain([10, 60, 40]))
    assert found.benchmarks == ("gsm8k",)
    assert found.transfer.value == pytest.approx(-0.2)
    assert found.transfer.low < -0.2 < found.transfer.high < 0


def test_what_the_last_stage_teaches_has_none() -> None:
    one_stage = [one for one in study(("llama7b",), 1, 16) if one.setting.strategy == "multi_task"]
    assert backward_transfer(one_stage) == []
    mixed = [one for one in study(("llama7b",), 1, 16) if one.setting.strategy == "mixed_sequential"]
    (found,) = backward_transfer(mixed)
    assert found.benchmarks == ("gsm8k", "humaneval")  # not mt_bench, which the last stage teaches


def test_shares_are_averaged_and_ratings_apart() -> None:
    two = [one for one in study(("llama7b",), 2, 16) if one.setting.strategy == "dmt"]
    found = backward_transfer([replace(one, ability="code") if one.metric == "rating" else one for one in two])
    assert {(one.unit, one.benchmarks) for one in found} == {
        ("share", ("gsm8k", "humaneval")),
        ("rating", ("mt_bench",)),
    }
