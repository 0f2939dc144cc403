"""A stage under DeepSpeed ZeRO-3: equal to plain torch, at any process count, and its model loads anywhere."""

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from common import ROOT
from tokenizers import Tokenizer, models
from training import RECIPE, SHAPE, Job, Outcome, examples, in_child, plain_training, run, run_fresh
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from sft_sweeps.data.encode import batches
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models import weights
from sft_sweeps.models.init import materialise
from sft_sweeps.train.steps import plan_batch

STEPS = 20
BUDGET = 100


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def base(scratch: Path) -> Path:
    vocabulary = {"<s>": 0, "</s>": 1, **{chr(place): place for place in range(33, 33 + SHAPE.vocab_size - 33)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<s>"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(
        scratch / "tokenizer"
    )
    materialise(SHAPE, 0, sorted((scratch / "tokenizer").iterdir()), scratch / "base")
    return scratch / "base"


@pytest.fixture(scope="module")
def one(scratch: Path, base: Path) -> Outcome:
    """One process, one bin."""
    return run(Job(str(base), str(scratch / "one")))[0]


@pytest.fixture(scope="module")
def two(scratch: Path, base: Path) -> list[Outcome]:
    """Two processes, several bins, every parameter partitioned; no compiler within reach, nothing warm."""
    (scratch / "bin").mkdir()
    environment = {"PATH": str(scratch / "bin"), "TORCH_EXTENSIONS_DIR": str(scratch / "extensions")}
    execution = {"token_budget": BUDGET, "whole_parameters": 0}
    return run_fresh(Job(str(base), str(scratch / "two"), execution), 2, environment)


@pytest.fixture(scope="module")
def plain(base: Path) -> tuple[Any, list[tuple[float, float]]]:
    return plain_training(base, STEPS)


def curve(outcome: Outcome) -> list[tuple[float, float]]:
    assert not outcome.error, outcome.log
    return [(step["loss"], step["grad_norm"]) for step in outcome.metrics]


def assert_equal_curves(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> None:
    assert len(ours) == len(theirs) == STEPS
    for (loss, norm), (other_loss, other_norm) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(other_loss, abs=1e-5)
        assert norm == pytest.approx(other_norm, abs=1e-5)


def test_zero3_equals_plain_torch(one: Outcome, plain: tuple[Any, list[tuple[float, float]]]) -> None:
    assert_equal_curves(curve(one), plain[1])


def test_two_processes_equal_one(one: Outcome, two: list[Outcome]) -> None:
    """Ranks with different numbers of bins, too."""
    assert_equal_curves(curve(one), curve(two[0]))
    data = examples()
    shown = batches.Shown(tuple(example.id for example in data))
    counts = []
    for step in range(STEPS):
        chosen = [data[place] for place in batches.batch(shown, RECIPE.seed, RECIPE.batch_size, step)]
        counts.append([len(bins) for bins in plan_batch(chosen, RECIPE, 2, BUDGET).bins])
    assert any(first != second for first, second in counts), "no rank needed filling: the test shows less"
    assert max(max(pair) for pair in counts) > 1


@pytest.mark.parametrize("execution", [{"zero_stage": 2}, {"offload": True}], ids=["zero2", "zero3_offload"])
def test_the_other_deepspeed_groups_compute_the_same(scratch: Path, base: Path, one: Outcome, execution: Any) -> None:
    """On two processes; stopped and continued from what they save, bit for bit."""
    name = "-".join(execution)
    job = Job(str(base), str(scratch / name), {"token_budget": BUDGET, "whole_parameters": 0, **execution})
    whole = run(job, 2)
    assert_equal_curves(curve(one), curve(whole[0]))
    broken = replace(job, folder=str(scratch / f"{name}-broken"))
    assert [outcome.error for outcome in run(replace(broken, stop_at=7), 2)] == ["Interrupted"] * 2
    continued = run(broken, 2)
    assert curve(continued[0]) == curve(whole[0])[7:]
    assert continued[0].digest == whole[0].digest


def test_every_rank_reports_the_same(two: list[Outcome]) -> None:
    first, second = two
    assert first.digest == second.digest != ""
    assert curve(first) == curve(second)


def test_nothing_is_compiled(scratch: Path, two: list[Outcome]) -> None:
    """The two processes had a PATH without compiler or ninja."""
    assert [outcome.status for outcome in two] == [0, 0], two[0].log
    assert not (scratch / "extensions").exists()


def test_logs_are_quiet(two: list[Outcome]) -> None:
    for outcome in two:
        assert outcome.log == "", outcome.log


def test_metrics(one: Outcome, two: list[Outcome]) -> None:
    first = one.metrics[0]
    assert [step["step"] for step in one.metrics] == list(range(1, STEPS + 1))
    assert first["steps"] == STEPS
    assert first["learning_rate"] == 0
    assert sum(first["examples_by_source"].values()) == RECIPE.batch_size
    assert sum(first["supervised_by_source"].values()) == first["supervised_tokens"] < first["tokens"]
    assert set(first["examples_by_source"]) == {"math", "code"}
    for step in one.metrics:  # the loss is the mean over all supervised tokens
        of = step["loss_by_source"]
        sums = [loss * step["supervised_by_source"][source] for source, loss in of.items()]
        assert sum(sums) / step["supervised_tokens"] == pytest.approx(step["loss"], rel=1e-5)
    assert two[0].metrics[0]["loss_by_source"] == pytest.approx(first["loss_by_source"], rel=1e-5)
    seen = sum(sum(step["examples_by_source"].values()) for step in one.metrics)
    assert seen == STEPS * RECIPE.batch_size


def test_the_model_loads_and_gives_the_logits_that_were_trained(
    scratch: Path, one: Outcome, plain: tuple[Any, list[tuple[float, float]]]
) -> None:
    folder = scratch / "one" / "model"
    model, report = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert {key: list(found) for key, found in report.items() if found} == {}
    assert model.dtype == torch.float32
    assert model.config.use_cache
    ids = torch.tensor(examples()[0].input_ids.tolist())[None]
    torch.testing.assert_close(model(input_ids=ids).logits, plain[0](input_ids=ids).logits, rtol=0, atol=1e-4)
    assert one.digest == weights.digest(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.eos_token == "</s>"
    assert tokenizer.chat_template == "{{ messages }}"
    assert not list((scratch / "one").glob(".*")), "something temporary was left"


def test_a_finished_model_is_left_as_it_is(scratch: Path, base: Path, one: Outcome) -> None:
    again = run(Job(str(base), str(scratch / "one")))[0]
    assert (again.digest, again.metrics) == (one.digest, [])


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_bf16_starts_from_the_stored_fp32_weights(base: Path, zero_stage: int) -> None:
    assert in_child(masters_and_buffers, str(base), zero_stage) == ""


def masters_and_buffers(base: str, zero_stage: int) -> str:
    """What differs from the parent's folder: fp32 masters to the bit, compute in bf16, rotary frequencies in fp32."""
    from sft_sweeps.train import ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process

    execution = TrainExecution(zero_stage=zero_stage)
    prepare_process(execution)
    with ranks.process_group(1):
        stored = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        engine = TrainEngine(Path(base), replace(RECIPE, precision="bf16"), execution)
        found = dict(engine.full_weights())
        wrong = [name for name, tensor in stored.named_parameters() if not torch.equal(found.pop(name), tensor)]
        buffers = dict(engine.deepspeed.module.named_buffers())
        wrong += [name for name, buffer in stored.named_buffers() if not torch.equal(buffers[name], buffer)]
        dtypes = {parameter.dtype for parameter in engine.deepspeed.module.parameters()}
        return "" if (wrong, list(found), dtypes) == ([], [], {torch.bfloat16}) else f"{wrong} {found} {dtypes}"


def test_bf16_trains_and_hands_on_bf16(scratch: Path, base: Path, one: Outcome) -> None:
    job = Job(str(base), str(scratch / "bf16"), {"recompute": True}, {"precision": "bf16", "model_dtype": "bf16"})
    outcome = run(job)[0]
    assert [loss for loss, _ in curve(outcome)] == pytest.approx([loss for loss, _ in curve(one)], abs=0.02)
    folder = scratch / "bf16" / "model"
    assert AutoModelForCausalLM.from_pretrained(folder).dtype == torch.bfloat16
    assert {stored.dtype for stored in weights.tensors(folder).values()} == {"BF16"}
    assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_refused(scratch: Path, base: Path) -> None:
    dropout = scratch / "dropout"
    shutil.copytree(base, dropout)
    config = json.loads((base / "config.json").read_text()) | {"attention_dropout": 0.1}
    (dropout / "config.json").write_text(json.dumps(config))
    outcome = run(Job(str(dropout), str(scratch / "refused")))[0]
    assert (outcome.error, outcome.metrics) == ("RunError", [])
    assert "Dropout is refused" in outcome.message


def test_engine_is_not_imported_to_read_weights() -> None:
    code = "import sys, sft_sweeps.models.weights, sft_sweeps.models.init; sys.exit('torch' in sys.modules)"
    path = str(ROOT)
    assert os.spawnve(os.P_WAIT, sys.executable, [sys.executable, "-c", code], {"PYTHONPATH": path}) == 0
