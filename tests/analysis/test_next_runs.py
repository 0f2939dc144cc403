"""What is worth running next: on grids whose truth is known."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_curves import FRACTIONS, law, score

from sft_sweeps.analysis.conclusions import conclusions
from sft_sweeps.analysis.grid_posterior import Posterior, prior
from sft_sweeps.analysis.next_runs import Board, Candidate, advise, boards
from sft_sweeps.analysis.observations import Observation, Part, Setting
from sft_sweeps.analysis.replay import Grid, Replay, Replayer, at_random, by_advice, cheapest, successive_halving

SIZES = {"s": 10**8, "l": 10**9}


def part(ability: str, fraction: Fraction = Fraction(1)) -> Part:
    return Part(ability, ability, fraction, round(10_000 * fraction))


def run(model: str, strategy: str, fraction: Fraction, *abilities: str, k: Fraction | None = None) -> Setting:
    return Setting(model, SIZES[model], strategy, tuple(part(ability, fraction) for ability in abilities), k)


def alone(model: str, fraction: Fraction = Fraction(1)) -> Setting:
    return run(model, "multi_task", fraction, "math")


def mixed(model: str, fraction: Fraction = Fraction(1), strategy: str = "multi_task", **more: Fraction) -> Setting:
    return run(model, strategy, fraction, "math", "code", **more)


def hours(setting: Setting) -> float:
    return SIZES[setting.model] / 10**8 * setting.examples / 1000


def candidate(setting: Setting) -> Candidate:
    """A strategy that is not multi-task shares its first stage with the others of its model and data."""
    name = f"{setting.model} {setting.strategy} {setting.k} {setting.parts}"
    own = [(name, hours(setting))]
    shared = [(f"shared {setting.model} {setting.parts}", hours(setting))] if setting.k is not None else []
    return Candidate(name, name, setting, (*shared, *own))


def grid() -> list[Setting]:
    """Two sizes: math alone and mixed at five fractions, and three strategies on the whole."""
    settings = [make(model, f) for model in SIZES for f in FRACTIONS for make in (alone, mixed)]
    for model in SIZES:
        settings.append(mixed(model, strategy="sequential"))
        settings += [mixed(model, strategy="dmt", k=Fraction(1, k)) for k in (4, 16, 64)]
    return settings


def truth(setting: Setting) -> float:
    """Mixed is better where data are few and worse where they are many; DMT gains with k."""
    size = 0.1 * (setting.model == "l")
    if setting.strategy == "sequential":
        return 0.25 + size
    if setting.k is not None:
        return 0.45 + size + 0.02 * np.log2(float(setting.k)) / 2
    assert setting.fraction
    full, drop = (0.5, 0.4) if setting.arm == "alone" else (0.46, 0.28)
    return law(full + size, drop, 0.5)[setting.fraction]


def observed(setting: Setting, rng: np.random.Generator, n: int = 1319) -> Observation:
    return score(setting, rng.binomial(n, truth(setting)) / n, n, run=candidate(setting).run)


def finished(seed: int = 0) -> Grid:
    rng = np.random.default_rng(seed)
    made = {candidate(one).run: [observed(one, rng)] for one in grid()}
    return Grid(tuple(candidate(one) for one in grid()), made)


def board_of(measured: list[Setting]) -> Board:
    rng = np.random.default_rng(1)
    (board,) = boards([observed(one, rng) for one in measured], grid())
    return board


def test_what_a_grid_can_conclude() -> None:
    found = conclusions([one.cell for one in grid()], "math")
    kinds = [one.kind for one in found]
    per_model = 5 * 4 // 2  # multi-task, sequential and three DMT
    assert (kinds.count("ordering"), kinds.count("crossing"), kinds.count("prediction")) == (2 * per_model, 10, 4)
    assert "s dmt k=1/4 > s dmt k=1/16" in [one.text for one in found]
    stated = conclusions([one.cell for one in grid()], "math", [(mixed("s"), mixed("s", strategy="sequential"))])
    assert [one.kind for one in stated].count("hypothesis") == 1
    assert len(stated) == len(found), "what is stated in advance is not asked twice"


def test_other_data_and_other_variants_are_not_compared() -> None:
    cells = [mixed("s"), mixed("s", Fraction(1, 4)), mixed("l"), replace(mixed("s"), variant="v")]
    assert not [one for one in conclusions(cells, "math") if one.second is not None]


def test_conditioning_is_that_of_a_normal_distribution() -> None:
    """Against the joint density's own arithmetic: precision matrices add."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5, 5))
    start = Posterior(rng.normal(size=5), root @ root.T + np.eye(5))
    noise = np.diag([0.3, 0.7])
    after = start.given([1, 3], np.array([0.5, -1.0]), noise)
    pick = np.eye(5)[[1, 3]]
    precision = np.linalg.inv(start.covariance) + pick.T @ np.linalg.inv(noise) @ pick
    shift = np.linalg.inv(start.covariance) @ start.mean + pick.T @ np.linalg.inv(noise) @ [0.5, -1.0]
    assert after.covariance == pytest.approx(np.linalg.inv(precision))
    assert after.mean == pytest.approx(np.linalg.solve(precision, shift))


@given(st.sampled_from(range(28)), st.sampled_from(range(28)))
@settings(max_examples=20, deadline=None)
def test_how_far_a_mean_moves_is_what_its_variance_loses(first: int, second: int) -> None:
    start, contrast = prior(grid(), "math", 0.5), np.zeros((1, 28))
    contrast[0, first], contrast[0, second] = 1.0, contrast[0, second] - 1.0
    noise = np.eye(1) * 1e-3
    after = start.given([first], np.zeros(1), noise)
    moved = start.moved_by(contrast, [first], noise)
    assert moved[0] ** 2 + after.spread_of(contrast)[0] ** 2 == pytest.approx(start.spread_of(contrast)[0] ** 2)


def test_a_gain_is_what_measuring_brings_on_average() -> None:
    """Against scores that are drawn from what is known, measured, and concluded from again."""
    board, rng = board_of(grid()[:12]), np.random.default_rng(0)
    cells = [20, 24]
    noise = np.eye(2) * board.noise
    known = board.posterior.covariance[np.ix_(cells, cells)] + noise
    scores = rng.multivariate_normal(board.posterior.mean[cells], known, size=400)
    after = np.mean([board.with_scores(cells, one, noise).sure() for one in scores], axis=0) - board.sure()
    pairs = ~board.of_predictions()
    gains = board.gains(cells)
    assert gains.max() > 0.02
    assert gains[pairs] == pytest.approx(after[pairs], abs=0.03)


def test_a_prior_is_a_distribution() -> None:
    for ability in ("math", "code", "general"):
        spread = np.linalg.eigvalsh(prior(grid(), ability, 0.5).covariance)
        assert spread.min() > 0


def test_what_is_open_and_cheap_comes_first() -> None:
    measured = [one for one in grid() if one.strategy == "multi_task"]
    missing = [one for one in grid() if one not in measured]
    advice = advise([board_of(measured)], [candidate(one) for one in missing], budget=1000)
    first = advice.choices[0].candidates[0].setting
    assert first.model == "s", "the small model's orderings are as open and cost a tenth"
    spent = [choice.hours for choice in advice.choices]
    assert sum(spent) == pytest.approx(advice.hours)


def test_a_shared_stage_is_paid_once() -> None:
    measured = [one for one in grid() if one.k is None]
    missing = [candidate(one) for one in grid() if one.k is not None]
    advice = advise([board_of(measured)], missing, budget=1000)
    chosen = [one for choice in advice.choices for one in choice.candidates]
    stages = {stage: cost for one in chosen for stage, cost in one.stages}
    assert len(chosen) > 2
    assert advice.hours == pytest.approx(sum(stages.values()))


@given(st.floats(0, 120))
@settings(max_examples=8, deadline=None)
def test_the_budget_holds(budget: float) -> None:
    measured = [one for one in grid() if one.k is None]
    advice = advise([board_of(measured)], [candidate(one) for one in grid() if one.k is not None], budget)
    assert advice.hours <= budget
    assert advice.stopped


def test_it_stops_where_nothing_can_change() -> None:
    settings = grid()
    advice = advise([board_of(settings)], [], budget=100)
    assert (advice.choices, advice.stopped) == ((), "every run of the grid is scored")
    known = replace(board_of(settings[:-1]), noise=1e-6)
    sure = replace(known, posterior=Posterior(np.arange(28.0), np.eye(28) * 1e-6))
    assert advise([sure], [candidate(settings[-1])], 100).stopped.startswith("no run of the grid is likely to change")
    dear = advise([board_of(settings[:6])], [candidate(settings[-1])], budget=0.5).stopped
    assert dear.startswith("nothing unsettled is affordable: 0.5 hours are left, and the cheapest run")


def test_a_conclusion_is_surer_once_it_is_measured() -> None:
    some, more = board_of(grid()[:10]), board_of(grid())
    assert more.sure().mean() > some.sure().mean()
    index = [one.text for one in more.conclusions].index("s multi_task > s sequential")
    assert more.sure()[index] > 0.99
    assert more.means()[index] > 0.1


def test_hours_to_a_share_count_from_when_it_stays() -> None:
    replay = Replay((0, 1, 2, 3, 4), (0.5, 1.0, 0.5, 1.0, 1.0))
    assert (replay.reached(0.5), replay.reached(1.0)) == (0, 3)


def test_a_finished_grid_is_concluded_in_fewer_hours_than_at_random_or_by_halving() -> None:
    grid_ = finished()
    replayer = Replayer(grid_)
    assert replayer.conclusions >= 15
    ours = replayer.replay(by_advice)
    assert ours.hours[-1] == pytest.approx(grid_.hours)
    others = [replayer.replay(at_random(seed)).reached(0.95) for seed in range(5)]
    halving = replayer.replay(successive_halving(grid_)).reached(0.95)
    assert ours.reached(0.95) < np.median(others)
    assert ours.reached(0.95) < halving
    assert replayer.replay(cheapest).hours[-1] == pytest.approx(grid_.hours)
