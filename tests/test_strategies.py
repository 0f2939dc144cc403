"""Strategies as properties over any abilities: nothing depends on their names."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import component, mixed

from sft_sweeps.config import checks
from sft_sweeps.identity import canonical
from sft_sweeps.spec import Component, Mixture
from sft_sweeps.strategies import STRATEGIES, Chain, chain, uses_k

SHARES = st.sampled_from([Fraction(1), Fraction(1, 3), Fraction(1, 4), Fraction(1, 64)])
ABILITIES = st.sampled_from(["math", "code", "law", "medicine"])
ROWS = 1_000_000  # so that no share is less than an example


@st.composite
def data(draw: Callable[..., object]) -> tuple[Component, ...]:
    """Sources in any order: several may serve one ability, specialized and general ones, either role may be missing."""
    drawn = draw(st.lists(st.tuples(ABILITIES, st.booleans(), SHARES), min_size=1, max_size=7))
    assert isinstance(drawn, list)
    return tuple(
        component(f"s{n}", "chat" if general else ability, share, ROWS, role="general" if general else "specialized")
        for n, (ability, general, share) in enumerate(drawn)
    )


def of(components: tuple[Component, ...], role: str) -> list[Component]:
    return [c for c in components if c.source.role == role]


def abilities(mixture: Mixture) -> set[str]:
    return {c.source.ability for c in mixture.components}


def trained(stages: Chain) -> list[Component]:
    return sorted((c for mixture in stages for c in mixture.components), key=lambda c: (c.source.name, c.fraction))


def test_names_are_those_of_the_configuration() -> None:
    assert tuple(sorted(STRATEGIES)) == tuple(sorted(checks.STRATEGIES))
    assert [name for name in STRATEGIES if uses_k(name)] == ["dmt"]


@given(data())
def test_base_has_no_stage_and_multi_task_one(components: tuple[Component, ...]) -> None:
    assert chain("base", components) == ()
    assert chain("multi_task", components) == (Mixture(components),)


@given(data())
def test_sequential_trains_each_ability_once_in_order_specialized_first(components: tuple[Component, ...]) -> None:
    stages = chain("sequential", components)
    order = [c.source.ability for c in (*of(components, "specialized"), *of(components, "general"))]
    assert all(len(abilities(mixture)) == 1 for mixture in stages)
    assert [abilities(mixture).pop() for mixture in stages] == list(dict.fromkeys(order))
    assert trained(stages) == trained((Mixture(components),))


def test_two_sources_of_one_ability_are_one_stage_though_another_stands_between() -> None:
    parts = (component("a", "math"), component("b", "code"), component("c", "math"), component("d", "general"))
    assert [[c.source.name for c in m.components] for m in chain("sequential", parts)] == [["a", "c"], ["b"], ["d"]]


@given(data())
def test_mixed_sequential_is_specialized_then_general(components: tuple[Component, ...]) -> None:
    expected = [Mixture(tuple(part)) for role in ("specialized", "general") if (part := of(components, role))]
    assert list(chain("mixed_sequential", components)) == expected


@given(data(), SHARES)
def test_dmt_replays_k_of_stage_ones_subset(components: tuple[Component, ...], k: Fraction) -> None:
    specialized, general = of(components, "specialized"), of(components, "general")
    stages = chain("dmt", components, k)
    if not specialized:
        assert stages == (Mixture(tuple(general)),)
        return
    first, second = stages
    assert first == Mixture(tuple(specialized))
    found = {c.source.name: c for c in second.components}
    assert set(found) == {c.source.name for c in components}
    assert all(found[c.source.name] == c for c in general)
    assert all(found[c.source.name].fraction == c.fraction * k for c in specialized)
    assert all((found[c.source.name].seed, found[c.source.name].heldout) == (c.seed, c.heldout) for c in specialized)


def test_k_is_of_the_fraction() -> None:
    replayed = chain("dmt", mixed(Fraction(1, 4)), Fraction(1, 4))[1]
    assert {c.source.name: c.fraction for c in replayed.components} == {
        "code": Fraction(1, 16),
        "math": Fraction(1, 16),
        "general": Fraction(1, 4),
    }


def test_what_a_stage_is_does_not_depend_on_how_many_rows_a_file_has() -> None:
    general, k = component("general"), Fraction(1, 256)
    few, enough = (chain("dmt", (component("code", rows=rows), general), k) for rows in (255, 256))
    assert [canonical(mixture) for mixture in few] == [canonical(mixture) for mixture in enough]
    assert [part.examples for part in few[1].components if part.source.ability == "code"] == [0]


@pytest.mark.parametrize("strategy", ["multi_task", "sequential", "mixed_sequential"])
def test_one_source_collapses_to_one_stage(strategy: str) -> None:
    for name in ("math", "general"):
        assert chain(strategy, (component(name),)) == (Mixture((component(name),)),)


def test_dmt_without_k_is_refused() -> None:
    with pytest.raises(ValueError, match="k"):
        chain("dmt", mixed())


@given(data(), st.randoms(use_true_random=False))
def test_order_matters_to_sequential_alone(components: tuple[Component, ...], random: object) -> None:
    shuffled = list(components)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for strategy in ("multi_task", "mixed_sequential", "dmt"):
        assert chain(strategy, shuffled, Fraction(1, 4)) == chain(strategy, components, Fraction(1, 4))


def test_no_strategy_reads_a_name() -> None:
    """Law and medicine in place of math and code give the same chains under other names."""
    renamed = {"code": "law", "math": "medicine", "general": "general"}
    for strategy in STRATEGIES:
        usual = chain(strategy, mixed(), Fraction(1, 4))
        other = chain(strategy, tuple(component(renamed[c.source.name]) for c in mixed()), Fraction(1, 4))
        assert [sorted((renamed[c.source.name], c.fraction) for c in m.components) for m in usual] == [
            sorted((c.source.name, c.fraction) for c in m.components) for m in other
        ]
