"""Adapters asked for: what is in an id and what is not, what is refused, what is planned."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from common import Points

from sft_sweeps.config.checks import problems
from sft_sweeps.config.resolve import request
from sft_sweeps.execution import TrainExecution
from sft_sweeps.launch import adapters
from sft_sweeps.launch.missing import missing_jobs
from sft_sweeps.plan import cost, memory
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.plan.serialize import from_json, to_json
from sft_sweeps.report.observe import setting_of
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey

MINI = ("model=mini", "data=mini", "train=mini")
DMT = (*MINI, "strategy=dmt", "strategy.k=1/4")
LORA = "train.adapter=lora"
THEN = ("continue", "stack", "merge")


def planned(points: Points, *line: str) -> Plan:
    return build([(p.name, request(p.config)) for p in points(*line)])


def ids(plan: Plan) -> list[str]:
    return [stage.id for stage in plan.stages]


def test_without_one_no_id_moves_and_with_one_every_field_is_in_it(points: Points) -> None:
    plain = ids(planned(points, *DMT))
    assert plain == ids(planned(points, *DMT, "train.adapter=none"))
    seen = {tuple(plain)}
    for one in ("", "rank=8", "alpha=3", "dropout=0.1", "targets=[q_proj]"):
        found = tuple(ids(planned(points, *DMT, LORA, *([f"train.lora.{one}"] if one else []))))
        assert not any(set(found) & set(others) for others in seen), one
        seen.add(found)


def test_order_of_targets_and_what_is_kept_are_in_none(points: Points) -> None:
    one = ids(planned(points, *DMT, LORA, "train.lora.targets=[q_proj,v_proj]"))
    assert one == ids(
        planned(points, *DMT, LORA, "train.lora.targets=[v_proj,q_proj,v_proj]", "train.lora.save=merged")
    )
    assert ids(planned(points, *DMT, LORA)) == ids(planned(points, *DMT, LORA, "train.lora.alpha=32.0"))


def test_what_becomes_of_it_is_of_the_second_stage_alone(points: Points) -> None:
    first, second = zip(*[ids(planned(points, *DMT, LORA, f"train.lora.then={then}")) for then in THEN], strict=True)
    assert len(set(first)) == 1
    assert len(set(second)) == 3
    single = planned(points, *MINI, "data=mini_math", LORA, "train.lora.then=merge")
    assert ids(single) == ids(planned(points, *MINI, "data=mini_math", LORA))
    settings = [
        setting_of(plan.runs[0]).variant
        for plan in (single, *(planned(points, *DMT, LORA, f"train.lora.then={t}") for t in THEN))
    ]
    assert settings[0] == settings[1], "runs of one stage and of two are compared"
    assert len(set(settings)) == 3


def test_a_plan_with_one_comes_back_from_json(points: Points) -> None:
    plan = planned(points, *DMT, LORA, "train.lora.targets=[q_proj]", "train.lora.then=stack")
    again = from_json(to_json(plan, {}))
    assert [stage.recipe for stage in again.stages] == [stage.recipe for stage in plan.stages]
    assert plan.runs[0].label == "mini dmt k=1/4 lora16-stack"
    assert [stage.label.count("lora16") for stage in plan.stages] == [1, 2]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["train.lora.rank=8"], "train.lora.rank=8 is not read: train.adapter=none; also type train.adapter=lora"),
        ([LORA, "train.lora.rank=0"], "train.lora.rank=0 must be a number of at least 1"),
        ([LORA, "train.lora.alpha=0"], "train.lora.alpha=0.0 must be above 0"),
        ([LORA, "train.lora.alpha=-3"], "train.lora.alpha=-3.0 must be above 0"),
        ([LORA, "train.lora.dropout=1"], "train.lora.dropout=1.0 must be in [0, 1)"),
        ([LORA, "train.lora.then=forget"], "valid: continue, stack, merge"),
        ([LORA, "train.lora.targets=['*']"], "names no layer; write the last part of a name"),
        (["train.adapter=dora"], "train.adapter=dora is unknown; valid: none, lora"),
    ],
)
def test_what_cannot_be_is_said_at_once(points: Points, typed: list[str], said: str) -> None:
    texts = problems(points(*MINI, *typed)[0].config)
    assert any(said in text for text in texts), texts


def refused(points: Points, root: Path, *line: str) -> list[str]:
    point = points(*line)[0]
    surveyed = survey(build([(point.name, request(point.config))]), Store(root))
    return list(adapters.problems(missing_jobs(surveyed, point.config), surveyed.store))


def test_targets_that_the_model_lacks(points: Points, tmp_path: Path) -> None:
    typed = (*MINI, LORA, "train.lora.targets=[q_proj,query,lm_head]")
    names = "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    assert refused(points, tmp_path, *typed) == [
        f"train.lora.targets=[{name}]: mini has no layer of that name that can have one; valid: {names}"
        for name in ("lm_head", "query")
    ]
    assert refused(points, tmp_path, *MINI, LORA) == []


def test_without_peft_one_line_says_what_to_install(
    points: Points, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "find_spec", lambda name: None if name == "peft" else find_spec(name))
    assert refused(points, tmp_path, *DMT, LORA) == [adapters.INSTALL]
    assert refused(points, tmp_path, *DMT) == []


def test_a_low_learning_rate_is_noted(points: Points) -> None:
    paper = ("model=llama7b", "data=math")
    noted = planned(points, *paper, LORA).notes
    assert any("about ten times as much: train.learning_rate=0.0002" in note for note in noted)
    assert not any("ten times" in note for note in planned(points, *paper, LORA, "train.learning_rate=2e-4").notes)
    assert not any("ten times" in note for note in planned(points, *paper).notes)


def large(points: Points, *line: str) -> Stage:
    (stage,) = planned(points, "model=llama7b", "data=math", "model.gpus=1", *line).stages
    return stage


def test_seven_billion_weights_on_one_gpu(points: Points) -> None:
    """All of them do not fit; beside an adapter they do, with two thirds of the operations."""
    whole, lora = large(points), large(points, LORA)
    how = TrainExecution(token_budget=2048)
    assert "Type" in memory.problem(whole, how, 80)
    assert memory.problem(lora, how, 80) == ""
    assert "lora16: 39,976,960 weights" in memory.verdict(lora, how, 80)
    assert 0.66 < cost.gpu_hours(lora) / cost.gpu_hours(whole) < 0.69
    assert cost.model_gb(lora) < cost.model_gb(whole) / 80 < cost.model_gb(lora, merged=True)
    adapter = lora.recipe.adapter
    assert cost.resume_gb(lora.model.shape, adapter) < cost.resume_gb(lora.model.shape) / 150
    part = memory.of(lora.model.shape, lora.recipe, how, 2048)
    full = memory.of(lora.model.shape, whole.recipe, how, 2048)
    assert part.optimizer < full.optimizer / 150
    assert part.weights == pytest.approx(full.weights, rel=0.01)


def test_the_plan_says_what_is_trained(points: Points) -> None:
    (line,) = adapters.lines(planned(points, *DMT, LORA, "train.lora.then=stack"))
    assert line == (
        "adapter of mini: LoRA of rank 16, alpha 32, on every linear layer but the head: 34,816 weights are trained "
        "beside 161,600 frozen ones (22 %); the next stage adds one to it"
    )
    assert adapters.lines(planned(points, *DMT)) == []
    stacked = planned(points, *DMT, LORA, "train.lora.then=stack").stages
    assert [cost.kept_parameters(stage) for stage in stacked] == [34_816, 2 * 34_816]
