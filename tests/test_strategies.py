"""Strategies as properties over any abilities: nothing depends on their names."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from common import ROOT
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from values import component, mixed

from sft_sweeps.errors import RequestError
from sft_sweeps.identity import canonical
from sft_sweeps.spec.data import Component, Mixture
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


def test_each_has_a_file_in_conf_under_its_own_name() -> None:
    """The file's k is set where the strategy uses it, null elsewhere."""
    files = {path.stem: OmegaConf.load(path) for path in (ROOT / "conf" / "strategy").glob("*.yaml")}
    assert {stem: file.name for stem, file in files.items()} == {name: name for name in STRATEGIES.names}
    assert {name for name, file in files.items() if file.k is not None} == set(filter(uses_k, STRATEGIES.names))


def test_an_unknown_one_is_answered_with_the_valid_names() -> None:
    with pytest.raises(RequestError, match=r"strategy dtm is unknown; valid: .*; did you mean dmt\?"):
        chain("dtm", mixed())


REVERSED = """
from sft_sweeps.spec.data import Mixture
from sft_sweeps.strategies import Strategy

STRATEGY = Strategy(lambda components, k: tuple(Mixture((c,)) for c in reversed(components)), True, ("law",))
"""


def test_another_distributions_strategy_is_planned_and_checked(tmp_path: Path) -> None:
    """An entry point and `strategy.name=NAME`, in a process that starts with it installed."""
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sft_sweeps.strategies]\nreversed = theirs:STRATEGY\n")
    (tmp_path / "theirs.py").write_text(REVERSED)

    def plan() -> "subprocess.CompletedProcess[str]":
        options = (
            "action=plan",
            "data=mixed",
            "evaluate=none",
            "strategy.name=reversed",
            f"plan.output={tmp_path / 'plan.json'}",
        )
        command = [sys.executable, str(ROOT / "launch.py"), *options, f"output_dir={tmp_path / 'out'}"]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)

    refused = plan()
    assert refused.returncode == 2
    assert "strategy=reversed needs strategy.k" in refused.stderr
    assert "needs law sources; this data has no law source" in refused.stderr
    (tmp_path / "theirs.py").write_text(REVERSED.replace("components, k", "components").replace('True, ("law",)', ""))
    planned = plan()
    assert planned.returncode == 0, planned.stderr
    stages = json.loads((tmp_path / "plan.json").read_text())["stages"]
    assert [[part["ability"] for part in stage["mixture"]] for stage in stages] == [["general"], ["math"], ["code"]]


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
    replayed = {c.source.name: c for c in second.components}
    assert set(replayed) == {c.source.name for c in components}
    assert all(replayed[c.source.name] == c for c in general)
    assert all(replayed[c.source.name].fraction == c.fraction * k for c in specialized)
    assert all(
        (replayed[c.source.name].seed, replayed[c.source.name].heldout) == (c.seed, c.heldout) for c in specialized
    )


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
    for strategy in STRATEGIES.names:
        usual = chain(strategy, mixed(), Fraction(1, 4))
        other = chain(strategy, tuple(component(renamed[c.source.name]) for c in mixed()), Fraction(1, 4))
        assert [sorted((renamed[c.source.name], c.fraction) for c in m.components) for m in usual] == [
            sorted((c.source.name, c.fraction) for c in m.components) for m in other
        ]
