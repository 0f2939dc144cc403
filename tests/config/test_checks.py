"""Every bad input is one message: key, value, what is valid, what to type; all of a point together."""

import copy
import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from common import Points
from omegaconf import OmegaConf

from sft_sweeps import ranges
from sft_sweeps.config.checks import problems, unknown_keys
from sft_sweeps.config.resolve_model import OF_DATA
from sft_sweeps.config.schema import Config, HypothesisConfig
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.config.train_schema import TrainConfig
from sft_sweeps.ranges import CHECK, NumberRange, OneOf
from sft_sweeps.spec.training import Recipe

# What is set, and what the message must say. `data=mixed model=llama7b evaluate=heldout_loss` is the start.
BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"action": "lunch"}, ["action=lunch", "launch, plan", "did you mean action=launch?"]),
    ({"study.hypotheses": [HypothesisConfig("x", "gsm9k", "model=a", "model=b")]}, ["gsm9k", "mean", "gsm8k?"]),
    ({"study.hypotheses": [HypothesisConfig("x", "gsm8k", "model", "model=b")]}, ["[0].better", "model is no KEY"]),
    ({"study.hypotheses": [HypothesisConfig("x", "gsm8k", "model=a")]}, ["study.hypotheses[0] lacks than", "like {"]),
    ({"data.sources.math.role": "special"}, ["data.sources.math.role=special", "specialized, general"]),
    ({"data.sources.math.format": "csv"}, ["data.sources.math.format=csv", "question_answer"]),
    ({"data.sources.math.rows": 0}, ["data.sources.math.rows=0", "at least 1"]),
    ({"data.sources.math.name": "a/b"}, ["data.sources.math.name=a/b", "letters, digits"]),
    ({"data.sources.math.name": "../up"}, ["data.sources.math.name=../up", "letters, digits"]),
    ({"data.sources.math.name": "my data"}, ["data.sources.math.name=my data", "letters, digits"]),
    ({"data.sources.math.name": "x" * 41}, ["data.sources.math.name=xxx", "at most 40"]),
    ({"data.sources.math.ability": ""}, ["data.sources.math.ability=", "letters, digits"]),
    ({"data.sources.math.ability": "ma/th"}, ["data.sources.math.ability=ma/th", "letters, digits"]),
    ({"data.sources.math.generated": True}, ["data.sources.math.name=gsm8k_rft", "mini_math", "generated=false"]),
    ({"data.sources.math.name": "sharegpt"}, ["source sharegpt is listed twice", "name of its own"]),
    ({"data.sources": {}}, ["data.sources is empty", "data=mixed"]),
    ({"data.fraction": "0"}, ["data.fraction=0 ", "(0, 1]", "data.fraction=1/4"]),
    ({"data.fraction": "1/0"}, ["data.fraction=1/0 ", "(0, 1]"]),
    ({"data.fraction": "5/4"}, ["data.fraction=5/4 ", "(0, 1]"]),
    ({"data.fraction": "abc"}, ["data.fraction=abc ", "(0, 1]"]),
    ({"data.fraction": "nan"}, ["data.fraction=nan ", "(0, 1]"]),
    ({"data.fractions.code": "2"}, ["data.fractions.code=2 ", "data.fractions.code=1/4"]),
    (
        {"data.fractions.law": "1/4"},
        ["data.fractions.law=1/4", "no source and no ability law", "code, code_alpaca, math"],
    ),
    ({"data.fractions.code": "1/20023"}, ["data.fractions.code=1/20023", "takes no example", "20,022 rows"]),
    ({"data.heldout": -1}, ["data.heldout=-1", "at least 0"]),
    ({"data.heldout": 20022}, ["data.fraction=1", "takes no example of code_alpaca"]),
    ({"strategy.name": "dtm"}, ["strategy.name=dtm", "multi_task", "did you mean strategy.name=dmt?"]),
    ({"strategy.name": "dmt"}, ["needs strategy.k", "strategy.k=1/256"]),
    ({"strategy.name": "dmt", "strategy.k": "2"}, ["strategy.k=2 ", "(0, 1]", "strategy.k=1/4"]),
    ({"strategy.k": "x"}, ["strategy.k=x ", "(0, 1]"]),
    ({"model.name": "meta/llama"}, ["model.name=meta/llama", "letters, digits"]),
    ({"model.gpus": -1}, ["model.gpus=-1", "at least 0"]),
    ({"model.seed": -1}, ["model.seed=-1", "0 ... 4294967295"]),
    ({"model.seed": 2**32}, ["model.seed=4294967296", "0 ... 4294967295"]),
    ({"model.init_std": math.nan}, ["model.init_std=nan", "model.init_std=0.02"]),
    ({"model.revision": ""}, ["model.weights=huggyllama/llama-7b", "model.revision", "model.folder=FOLDER"]),
    ({"model.shape.heads": 96}, ["model.shape.hidden_size=4096", "multiple of model.shape.heads=96"]),
    ({"model.shape.kv_heads": 5}, ["model.shape.heads=32", "multiple of model.shape.kv_heads=5"]),
    ({"model.shape.layers": 0}, ["model.shape.layers=0", "at least 1"]),
    ({"model.shape.heads": 0}, ["model.shape.heads=0", "at least 1"]),
    (
        {"analysis.representations.queries": 10, "analysis.representations.layer": 33},
        ["analysis.representations.layer=33 is beyond llama7b's 32 layers", "0 (the embeddings) to 32"],
    ),
    (
        {"analysis.representations.queries": 10, "model.representation_layer": 40},
        ["model.representation_layer=40 is beyond llama7b's 32 layers", "type analysis.representations.layer=N"],
    ),
    (
        {"analysis.representations.queries": 20023},
        ["analysis.representations.queries=20023 is more than data.sources.code has rows (20,022)", "queries=20022"],
    ),
    ({"train.epochs": 0}, ["train.epochs=0", "at least 1"]),
    ({"train.batch_size": 0}, ["train.batch_size=0", "at least 1"]),
    ({"train.max_length": 4096}, ["train.max_length=4096", "2048 positions", "train.max_length=2048"]),
    ({"train.schedule": "linear"}, ["train.schedule=linear", "cosine"]),
    ({"train.template": "vicuna"}, ["train.template=vicuna ", "vicuna_v1.1", "did you mean train.template=vicuna_"]),
    ({"train.loss_reduction": "mean"}, ["train.loss_reduction=mean", "token_mean"]),
    (
        {"train.virtual_devices": 0},
        ["train.virtual_devices=0 cannot share", "1, 2, 4, 8, 16"],
    ),
    ({"train.virtual_devices": 5}, ["train.virtual_devices=5 does not divide", "train.virtual_devices=4"]),
    ({"train.virtual_devices": 32}, ["train.virtual_devices=32 is more than", "train.virtual_devices=16"]),
    (
        {"train.batch_size": 12},
        ["devices=8 does not divide the train.batch_size=12", "3, 4, 6, 12"],
    ),
    ({"train.precision": "fp16"}, ["train.precision=fp16", "fp32, bf16"]),
    ({"train.model_dtype": "int8"}, ["train.model_dtype=int8", "fp32, bf16"]),
    ({"train.learning_rate": 0.0}, ["train.learning_rate=0.0", "train.learning_rate=2e-5"]),
    ({"train.learning_rate": math.nan}, ["train.learning_rate=nan", "train.learning_rate=2e-5"]),
    ({"train.learning_rate": math.inf}, ["train.learning_rate=inf", "train.learning_rate=2e-5"]),
    ({"train.warmup_fraction": 1.0}, ["train.warmup_fraction=1.0", "[0, 1)", "train.warmup_fraction=0.03"]),
    ({"train.warmup_fraction": math.nan}, ["train.warmup_fraction=nan"]),
    ({"train.weight_decay": -0.1}, ["train.weight_decay=-0.1", "at least 0"]),
    ({"train.adam_beta1": 1.0}, ["train.adam_beta1=1.0", "[0, 1)", "train.adam_beta1=0.9"]),
    ({"train.adam_beta2": math.nan}, ["train.adam_beta2=nan"]),
    ({"train.adam_epsilon": math.inf}, ["train.adam_epsilon=inf"]),
    ({"train.max_grad_norm": math.nan}, ["train.max_grad_norm=nan"]),
    ({"evaluate.benchmarks": ["mmlu"]}, ["evaluate.benchmarks=mmlu", "heldout_loss"]),
    ({"evaluate.stages": "last"}, ["evaluate.stages=last", "all, specialized, final"]),
    ({"evaluate.engine": "vlm"}, ["evaluate.engine=vlm", "hf"]),
    ({"evaluate.examples": 0}, ["evaluate.examples=0", "at least 1"]),
    ({"evaluate.batch_size": 0}, ["evaluate.batch_size=0", "at least 1"]),
    ({"evaluate.benchmarks": ["mini_math"]}, ["evaluate.max_new_tokens=0", "at least 1"]),
    ({"evaluate.engine": "vllm"}, ["evaluate.engine=vllm takes no losses", "evaluate.engine=hf"]),
    ({"evaluate.benchmarks": ["gsm8k"], "evaluate.examples": -1}, ["evaluate.examples=-1", "at least 0"]),
    ({"evaluate.benchmarks": ["gsm8k"], "evaluate.gsm8k.samples": 2}, ["evaluate.gsm8k.samples=2", "samples=1"]),
    ({"evaluate.benchmarks": ["gsm8k"], "evaluate.gsm8k.style": "chat"}, ["evaluate.gsm8k.style=chat", "query"]),
    (
        {"evaluate.benchmarks": ["humaneval"], "evaluate.humaneval.samples": 9},
        ["evaluate.humaneval.samples=9 greedy answers", "evaluate.humaneval.temperature=0.8"],
    ),
    (
        {"evaluate.benchmarks": ["humaneval"], "evaluate.humaneval.style": "prefil"},
        ["evaluate.humaneval.style=prefil", "did you mean evaluate.humaneval.style=prefill?"],
    ),
    (
        {"evaluate.benchmarks": ["mt_bench"], "evaluate.mt_bench.judge.model": ""},
        ["evaluate.mt_bench.judge.model is not set", "gpt-4-0613"],
    ),
    (
        {
            "evaluate.benchmarks": ["mt_bench"],
            "evaluate.mt_bench.judge.model": "j",
            "evaluate.mt_bench.judge.base_url": "x",
        },
        ["evaluate.mt_bench.judge.base_url=x is not a URL", "http://localhost:8000/v1"],
    ),
    (
        {
            "evaluate.benchmarks": ["mt_bench"],
            "evaluate.mt_bench.judge.model": "j",
            "evaluate.mt_bench.judge.max_cost_usd": 5.0,
        },
        ["evaluate.mt_bench.judge.max_cost_usd=5.0 needs prices", "prompt_usd_per_million"],
    ),
    ({"sandbox.isolation": "docker"}, ["sandbox.isolation=docker", "kernel"]),
    ({"sandbox.isolation": "none"}, ["sandbox.isolation=none", "sandbox.i_accept_running_untrusted_code=true"]),
    ({"sandbox.require": ["fs", "gpu"]}, ["sandbox.require=gpu", "fs, net, kill, forge"]),
    ({"sandbox.require": ["forge"]}, ["sandbox.require=forge", "sandbox.strict=true"]),
    ({"cluster.jobs": -1}, ["cluster.jobs=-1", "at least 0"]),
    ({"cluster.processes": 0}, ["cluster.processes=0", "at least 1"]),
    ({"cluster.threads": 0}, ["cluster.threads=0", "at least 1"]),
    ({"cluster.save_every_seconds": math.nan}, ["cluster.save_every_seconds=nan", "at least 0"]),
    ({"deepspeed.token_budget": -1}, ["deepspeed.token_budget=-1", "at least 0"]),
    (
        {"deepspeed.token_budget": 999},
        ["token_budget=999 is below train.max_length=2048", "deepspeed.token_budget=2048"],
    ),
    ({"deepspeed.zero_stage": 1}, ["deepspeed.zero_stage=1", "valid: 2, 3"]),
    ({"tracking.name": "wand"}, ["tracking.name=wand", "did you mean tracking.name=wandb"]),
    ({"tracking.mode": "on"}, ["tracking.mode=on", "auto, online, offline"]),
    ({"tracking.project": "a/b"}, ["tracking.project=a/b is no project"]),
]


@pytest.fixture
def good(points: Points) -> Config:
    return copy.deepcopy(points("model=llama7b", "data=mixed", "evaluate=heldout_loss")[0].config)


def put(value: Any, key: str, new: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        value = value[name] if isinstance(value, dict) else getattr(value, name)
    if isinstance(value, dict):
        value[last] = new
    else:
        assert hasattr(value, last), key
        setattr(value, last, new)


def test_a_good_point_has_no_problem(good: Config) -> None:
    assert problems(good) == []


def named(bad: Any) -> str:
    return " ".join(f"{key}={value}"[:50] for key, value in bad.items()) if isinstance(bad, dict) else ""


@pytest.mark.parametrize(("bad", "says"), BAD, ids=named)
def test_one_message_for_each_bad_input(bad: dict[str, Any], says: list[str], good: Config) -> None:
    for key, value in bad.items():
        put(good, key, value)
    texts = problems(good)
    assert len(texts) == 1, texts
    assert all(part in texts[0] for part in says), texts[0]
    assert texts[0].isprintable()


def test_all_problems_of_a_point_come_together(good: Config) -> None:
    for key, value in {"train.epochs": 0, "data.fraction": "5/4", "cluster.jobs": -1, "model.gpus": -1}.items():
        put(good, key, value)
    texts = problems(good)
    assert len(texts) == 4  # the common fraction once, not once for each source
    assert [any(key in text for text in texts) for key in ("epochs", "data.fraction", "cluster", "gpus")] == [True] * 4


@pytest.mark.parametrize("role", ["specialized", "general"])
def test_dmt_needs_both_roles(role: str, good: Config) -> None:
    good.strategy.name, good.strategy.k = "dmt", "1/4"
    good.data.sources = {slot: s for slot, s in good.data.sources.items() if s.role == role}
    good.data.fractions = {}
    (text,) = problems(good)
    missing = "general" if role == "specialized" else "specialized"
    assert f"no {missing} source" in text
    assert "data=mixed" in text


def test_two_names_for_two_parts_of_one_ability_are_fine(good: Config) -> None:
    good.data.sources["proofs"] = copy.deepcopy(good.data.sources["math"])
    good.data.sources["proofs"].name = "proofs"
    assert problems(good) == []


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("zzz", "unknown key zzz; valid here: action"),
        ("modle", "unknown key modle; did you mean model?"),
        ("train.learning_rat", "unknown key train.learning_rat; did you mean train.learning_rate?"),
        ("model.shape.hiden_size", "unknown key model.shape.hiden_size; did you mean model.shape.hidden_size?"),
        ("data.fractionz", "unknown key data.fractionz; did you mean data.fraction"),
        ("data.sources.math.row", "unknown key data.sources.math.row; did you mean data.sources.math.rows?"),
        ("cluster.x", "unknown key cluster.x; valid here: name"),
    ],
)
def test_unknown_keys_have_the_nearest_name(key: str, says: str) -> None:
    node = OmegaConf.create({"data": {"sources": {"math": {"rows": 1}}}, "model": {"shape": {}}})
    assert unknown_keys(node, Config) == []
    OmegaConf.update(node, key, 1)
    (text,) = unknown_keys(node, Config)
    assert text.startswith(says)


def test_the_schema_and_the_exact_values_agree() -> None:
    """A recipe's field that no key sets, or a key that no field takes, would be a lie about the identity."""
    described = {"lora"}  # what the recipe's `adapter` has in full
    assert {f.name for f in fields(TrainConfig)} - described | OF_DATA == {f.name for f in fields(Recipe)}
    groups = [f.type for f in fields(Config) if isinstance(f.type, type) and is_dataclass(f.type)]
    assert len(groups) == 15
    assert {f.name for f in fields(SourceConfig)} >= {"name", "content", "format", "ability", "role", "rows", "path"}


# A good and a bad text for each field that holds neither a number nor one of some names.
TEXTS = {
    "name": ("a.b-c+d_1", "a/b"),
    "study.name": ("x" * 40, "x" * 41),
    "model.name": ("7b", ".7b"),
    "data.sources.math.name": ("0", ""),
    "data.sources.math.ability": ("law", "l w"),
    "strategy.k": ("1/256", "257/256"),
    "cluster.time": ("599", "600"),
    "cluster.kinds.train.time": ("0:01:00", "0:00:00"),
    "cluster.memory": ("1G", "0G"),
    "cluster.kinds.train.memory": ("", "1g"),
    "cluster.gpu_type": ("a100-sxm4.80gb", "a100:8"),
    "cluster.modules": (["cuda/12.4"], ["cuda 12.4"]),
    "cluster.srun": (["-v"], ["v"]),
    "cluster.container": ("run 'a b'", "run 'a b"),
    "cluster.python": ("/opt/my\\ env/python", "/opt/my\\"),
    "plan.deadline": ("1.5d", "1.5"),
}


def checked_fields(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, check, kind of the value) of every field that has a check; of alike groups under names, one."""
    for field in fields(settings):
        key, value = prefix + field.name, getattr(settings, field.name)
        if CHECK in field.metadata:
            yield key, field.metadata[CHECK], field.type
        elif isinstance(value, dict) and (slot := {"sources": "math", "kinds": "train"}.get(field.name)):
            yield from checked_fields(value[slot], f"{key}.{slot}.")
        elif is_dataclass(value):
            yield from checked_fields(value, f"{key}.")


def edges(key: str, check: Any, kind: Any) -> tuple[list[Any], list[Any]]:
    """Values just inside what a field may be, and just outside."""
    if isinstance(check, OneOf):
        valid = check.valid()
        inside, outside = list(valid), [max(valid) + 1 if isinstance(valid[0], int) else f"{valid[0]}x"]
        return ([[value] for value in inside], [outside]) if kind == list[str] else (inside, outside)
    if isinstance(check, NumberRange):
        step = math.nextafter if kind is float else (lambda x, to: x + (1 if to > x else -1))
        low, high = (float(check.low), float(check.high)) if kind is float else (check.low, check.high)
        inside = [step(low, math.inf) if check.low_open else low]
        outside = [low if check.low_open else step(low, -math.inf), *([math.nan, math.inf] if kind is float else [])]
        if high < math.inf:
            inside.append(step(high, -math.inf) if check.high_open else high)
            outside.append(high if check.high_open else step(high, math.inf))
        return inside, outside
    return tuple([text] for text in TEXTS[key])  # type: ignore[return-value]


def test_every_checked_field_takes_what_is_just_inside_and_refuses_what_is_just_outside(good: Config) -> None:
    seen = set()
    for key, check, kind in checked_fields(good):
        seen.add(key)
        inside, outside = edges(key, check, kind)
        for value in (*inside, *outside):
            config = copy.deepcopy(good)
            put(config, key, value)
            texts = list(ranges.problems(config))
            assert len(texts) == (value in outside), (key, value, texts)
            assert all(text.startswith(f"{key}=") for text in texts), texts
            assert set(texts) <= set(problems(config))
    assert seen >= set(TEXTS)
    assert len(seen) == 120
