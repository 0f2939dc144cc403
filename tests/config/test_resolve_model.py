"""What weights, tokenizers and recipes make of a model's identity, wherever they lie."""

import json
from pathlib import Path
from typing import Any

import pytest
from common import Points

from sft_sweeps.config.resolve import request
from sft_sweeps.config.resolve_model import model
from sft_sweeps.config.train_schema import ModelConfig, ShapeConfig
from sft_sweeps.models.pins import tokenizer_pin

SHAPE = ShapeConfig(64, 176, 2, 4, 4, 0, 2048)
TOKENIZER = {"added_tokens": [{"id": 2, "content": "</s>"}], "model": {"vocab": {"a": 0, "b": 1}}}


def base(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"name": "mini", "weights": "init", "gpus": 0, "shape": SHAPE, **changes})


def tokenizer(folder: Path, content: Any = TOKENIZER, indent: int | None = None, **ends: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content, indent=indent))
    named = {"bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, **ends}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))
    return str(folder)


def test_a_tokenizer_is_its_content_wherever_it_lies_and_however_it_is_written(tmp_path: Path) -> None:
    one, other = tokenizer(tmp_path / "a"), tokenizer(tmp_path / "b", dict(reversed(TOKENIZER.items())), indent=2)
    assert model(base(tokenizer=one)).id == model(base(tokenizer=other)).id
    assert tokenizer_pin(one + "/tokenizer.json") == tokenizer_pin(one)
    assert model(base(tokenizer=one)).shape.vocab_size == 3
    changed = {**TOKENIZER, "model": {"vocab": {"a": 1, "b": 0}}}
    assert model(base(tokenizer=tokenizer(tmp_path / "c", changed))).id != model(base(tokenizer=one)).id
    ends = model(base(tokenizer=tokenizer(tmp_path / "d", eos_token="<|im_end|>")))  # an answer ends otherwise
    assert ends.id != model(base(tokenizer=one)).id


@pytest.mark.parametrize("content", [{}, [], {"added_tokens": [], "model": {"vocab": []}}, {"added_tokens": 1}])
def test_a_tokenizer_that_cannot_be_read_is_provisional(content: Any, tmp_path: Path) -> None:
    assert model(base(tokenizer=tokenizer(tmp_path / "a", content))).provisional
    assert model(base(tokenizer=str(tmp_path / "absent"))).provisional
    assert model(base(tokenizer=tokenizer(tmp_path / "b", eos_token=None))).provisional
    (tmp_path / "b" / "tokenizer_config.json").unlink()
    assert model(base(tokenizer=str(tmp_path / "b"))).provisional


def test_weights_in_a_folder_are_their_bytes(tmp_path: Path) -> None:
    folders = [Path(tokenizer(tmp_path / name)) for name in "abc"]
    for folder, content in zip(folders, (b"1", b"1", b"2"), strict=True):
        (folder / "model.safetensors").write_bytes(content)
    one, same, other = (model(base(folder=str(folder))) for folder in folders)
    assert one.id == same.id != other.id
    assert one.path != same.path
    assert model(base(folder=str(tmp_path / "absent"))).provisional


def test_hub_weights_are_their_pin() -> None:
    ways: list[dict[str, Any]] = [{}, {"weights": "a/c"}, {"revision": "2"}]
    assert len({model(base(**{"weights": "a/b", "revision": "1", **way})).id for way in ways}) == 3
    assert len({model(base(seed=seed)).id for seed in (0, 1)}) == 2


def test_virtual_devices_are_the_models_and_no_other_reductions(points: Points) -> None:
    """33B was fine-tuned on 16 devices; how many GPUs a user has does not enter, nor what no token's weight needs."""
    line = ("data=math", "model=llama7b,llama33b", "model.gpus=4")
    assert [request(p.config).recipe.virtual_devices for p in points(*line)] == [8, 16]
    assert [request(p.config).recipe.virtual_devices for p in points(*line, "train.virtual_devices=2")] == [2, 2]
    others = points("data=math", "train.loss_reduction=token_mean,example_mean", "train.virtual_devices=2,4")
    recipes = [request(point.config).recipe for point in others]
    assert [recipe.virtual_devices for recipe in recipes] == [0] * 4
    assert len(set(recipes)) == 2
