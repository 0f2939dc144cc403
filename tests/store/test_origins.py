"""What a stage with an adapter is made of: the same model whatever was kept, and nothing that it needs can go."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
from adapters import chained, finish
from values import benchmark, generation, model

from sft_sweeps.jobs import retention
from sft_sweeps.jobs.disposable import disposable
from sft_sweeps.jobs.needs import read_needs
from sft_sweeps.models import arrays, merging, weights
from sft_sweeps.plan.build import Plan, Run, score_of
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import origins
from sft_sweeps.store.exports import export_of
from sft_sweeps.store.store import FREED, Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import freeze
from sft_sweeps.store.usage import usage


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny") / "model")


def plan_of(stages: list[Stage]) -> Plan:
    """A sweep whose one run ends in the last of them, which is scored."""
    asked = (generation(stages[-1]),)
    run = Run("x", "sequential", stages[0].model, tuple(stages), points=("x",))
    return Plan((run,), tuple(stages), asked, tuple(map(score_of, asked)), 1, 1, 0.0, models=(stages[0].model,))


def digest(stage: Stage, store: Store, place: Path) -> str:
    with origins.whole_folder(origins.whole(stage, store), place) as folder:
        assert (folder / "tokenizer.json").is_file()
        return weights.digest(folder)


def total(folders: list[Path], layer: str) -> np.ndarray:
    return sum(merging.read(folder).delta(layer) for folder in folders)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("thens", "lies_on", "beside"),
    [
        (("continue", "continue"), (), True),
        (("continue", "stack"), (), True),
        (("continue", "merge"), (0,), False),
        (("continue", "merge", "continue"), (0,), True),
        (("continue", "merge", "merge"), (0, 1), False),
    ],
)
def test_what_an_adapter_lies_on(
    thens: tuple[str, ...], lies_on: tuple[int, ...], beside: bool, base: Path, tmp_path: Path
) -> None:
    store, stages = Store(tmp_path), chained(model(path=str(base)), *thens)
    places = [finish(store, stage, base, seed=number) for number, stage in enumerate(stages)]
    frozen = origins.frozen(stages[-1], store)
    assert (frozen.whole, frozen.adapters) == (base, tuple(places[number] for number in lies_on))
    assert origins.before(stages[-1], store) == (places[-2] if beside else None)
    with origins.whole_folder(origins.whole(stages[-1], store), tmp_path / "used") as whole:
        name = "model.layers.0.mlp.down_proj"
        stored, made = (arrays.read(weights.tensors(folder)[f"{name}.weight"]) for folder in (base, whole))
        used = [places[number] for number in lies_on] + [places[-1]]
        np.testing.assert_allclose(made, stored + total(used, name), atol=1e-4)
    assert not list((tmp_path / "used").iterdir())


def test_whether_the_merged_model_is_kept_changes_nothing(base: Path, tmp_path: Path) -> None:
    for then in ("continue", "stack", "merge"):
        found = set()
        for merged in (True, False):
            store = Store(tmp_path / f"{then}{merged}")
            stages = chained(model(path=str(base)), "continue", then)
            for number, stage in enumerate(stages):
                whole = base
                if then == "merge" and number:  # as its training begins with
                    whole = tmp_path / f"first{merged}"
                    with origins.whole_folder(origins.frozen(stage, store), tmp_path / "used") as first:
                        shutil.copytree(first, whole)
                finish(store, stage, whole, seed=number, merged=merged)
            found.add(digest(stages[-1], store, tmp_path))
        assert len(found) == 1


def test_a_merged_model_that_goes_is_no_loss_and_an_adapter_never_goes(base: Path, tmp_path: Path) -> None:
    store, stages = Store(tmp_path / "store"), chained(model(path=str(base)), "continue", "continue")
    for number, stage in enumerate(stages):
        finish(store, stage, base, seed=number, merged=True)
    before, plan = digest(stages[0], store, tmp_path), plan_of(stages)
    sweep = freeze(plan, store, "mine", "why?", [])
    retention.declare(sweep, "final")
    freed = retention.free(sweep, store)
    assert len(freed) == 1
    assert (store.folder(stages[0]) / FREED).is_file()
    assert not (store.folder(stages[0]) / "model").exists()
    fresh = Store(store.root)
    assert survey(plan, fresh).states[stages[0].id].state == "done"
    assert fresh.record(stages[0])
    assert digest(stages[0], fresh, tmp_path) == before
    gone, _ = disposable(read_needs(fresh), policy="scores")
    assert not [one for one in gone if "adapter" in str(one.path) or one.kind == "orphans"]
    (fresh.folder(stages[0]) / "adapter" / "adapter_model.safetensors").unlink()
    assert survey(plan, Store(store.root)).states[stages[0].id].state == "weights gone"


def test_sizes_are_right_and_exports_hold_no_weights(base: Path, tmp_path: Path) -> None:
    store, stages = Store(tmp_path / "store"), chained(model(path=str(base)), "continue")
    place = finish(store, stages[0], base)
    sweep = freeze(plan_of(stages), store, "mine", "why?", [])
    taken = usage(store.root)
    held = sum(path.stat().st_blocks * 512 for path in (place, *place.iterdir()))
    assert taken.by_what["adapters"].bytes == held
    assert taken.subjects[stages[0].id].by_what["adapters"].bytes == held
    packed = [str(member.path) for member in export_of(sweep, store).contents]
    assert not [name for name in packed if "safetensors" in name or "/adapter/" in name]
    assert any(name.endswith("record.json") for name in packed)


def test_it_loads_and_is_asked_as_any_model(base: Path, tmp_path: Path) -> None:
    """Answers and representations come of the merged model, which is gone afterwards."""
    from sft_sweeps.execution import AnswerExecution
    from sft_sweeps.generate import answers

    store, stages = Store(tmp_path), chained(model(path=str(base)), "continue")
    finish(store, stages[0], base)
    asked = replace(generation(stages[0]), benchmark=benchmark(examples=2, max_new_tokens=2))
    answers.generate(stages[0], [asked], store, AnswerExecution(), lambda: False)
    assert store.record(asked)
    assert not [path for path in store.folder(stages[0]).rglob("*") if path.name.startswith(".")]
