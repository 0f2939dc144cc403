"""A bad checkpoint is refused before a GPU is asked for; a finished model is looked at before its record."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from training import SHAPE

from sft_sweeps.errors import RunError
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models import weights
from sft_sweeps.models.architectures import LLAMA
from sft_sweeps.models.folder import Examined, unfinished
from sft_sweeps.models.init import initial_weights, materialise
from sft_sweeps.spec.training import Shape

TOKENIZER = {"added_tokens": [], "model": {"vocab": {"a": 0, "b": SHAPE.vocab_size - 1}}}


def problems(folder: Path, shape: Shape, tokenizer: str) -> Iterator[str]:
    """Of a LLaMA; nothing else is asked about."""
    return checkpoint.problems(folder, shape, tokenizer, lambda _: Examined("it was asked"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good one, in two shards, whose tokenizer uses its whole vocabulary."""
    (tmp_path / "tokenizer").mkdir()
    materialise(SHAPE, 0, [], tmp_path / "model")
    found = initial_weights(SHAPE, 0)
    (tmp_path / "model" / "model.safetensors").unlink()
    names = sorted(found)
    places = {name: f"model-{1 + (at > 9)}.safetensors" for at, name in enumerate(names)}
    for file in set(places.values()):
        shard = {name: found[name] for name in names if places[name] == file}
        save_file(shard, tmp_path / "model" / file)
    weights.write_index(tmp_path / "model", places, 1)
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"bos_token": "<s>", "eos_token": "</s>"}')
    return tmp_path / "model"


def configure(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text()) | changes
        (folder / "config.json").write_text(json.dumps(config))

    return change


def cut(folder: Path) -> None:
    path = folder / "model-1.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def scribble(folder: Path) -> None:
    (folder / "model-1.safetensors").write_bytes(b"\xff" * 4000)


def lose(folder: Path) -> None:
    (folder / "model-2.safetensors").unlink()


def reshape(folder: Path) -> None:
    shard = load_file(folder / "model-1.safetensors")
    name = sorted(shard)[1]
    shard[name] = np.zeros((3, 5), np.float32)
    save_file(shard, folder / "model-1.safetensors")


def quantize(folder: Path) -> None:
    shard = {name: tensor.astype(np.int8) for name, tensor in load_file(folder / "model-1.safetensors").items()}
    save_file(shard, folder / "model-1.safetensors")


def tokens(folder: Path) -> None:
    more = {"added_tokens": [{"id": SHAPE.vocab_size, "content": "<pad>"}], "model": {"vocab": {"a": 0}}}
    (folder / "tokenizer.json").write_text(json.dumps(more))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("[]")


BAD = [
    (configure(model_type="qwen2"), ["describes a qwen2 model", "Type model=hf"]),
    (configure(attention_dropout=0.1), ["attention_dropout=0.1", "set it to 0"]),
    (configure(rope_scaling={"type": "linear", "factor": 2.0}), ["scales RoPE"]),
    (configure(max_position_embeddings=512), ["max_position_embeddings=512", "model.shape.max_positions=512"]),
    (configure(num_hidden_layers=3), ["num_hidden_layers=3", "model.shape.layers=3"]),
    (configure(vocab_size=98), ["has (97, 32) for lm_head.weight, which is to be (98, 32)", "1 more"]),
    (no_json, ["config.json cannot be read", "no JSON object"]),
    (lose, ["lacks model-2.safetensors"]),
    (cut, ["model-1.safetensors is cut short"]),
    (scribble, ["model-1.safetensors is no safetensors file", "Fetch the model again"]),
    (reshape, ["has (3, 5) for model.embed_tokens.weight, which is to be (97, 32)"]),
    (quantize, ["holds weights as I8", "F32, F16, BF16"]),
    (tokens, ["has 98 tokens", "embeds 97", "model.tokenizer=FOLDER"]),
]


def test_a_good_one(folder: Path) -> None:
    assert list(problems(folder, SHAPE, "")) == []
    assert unfinished(folder, LLAMA.parameters(SHAPE), "F32", False) == []


@pytest.mark.parametrize(("spoil", "says"), BAD, ids=[says[0] for _, says in BAD])
def test_one_message_for_each_bad_checkpoint(folder: Path, spoil: Callable[[Path], None], says: list[str]) -> None:
    spoil(folder)
    (found,) = problems(folder, SHAPE, "")
    assert all(part in found for part in says), found
    assert found.isprintable()


def test_what_a_finished_model_must_have(folder: Path) -> None:
    wanted = LLAMA.parameters(SHAPE)
    assert len(unfinished(folder, wanted, "BF16", False)) == len(wanted)
    assert unfinished(folder, wanted, "F32", True) == ["chat_template.jinja is missing"]
    name = "model.norm.weight"
    assert unfinished(folder, {**wanted, name: (1,)}, "F32", False) == [f"{name} is F32 (32,), not F32 (1,)"]
    fewer = {key: shape for key, shape in wanted.items() if key != name}
    assert unfinished(folder, fewer, "F32", False) == [f"{name} is nobody's"]
    (folder / "generation_config.json").unlink()
    (text,) = unfinished(folder, wanted, "F32", False)
    assert text.startswith("generation_config.json cannot be read")
    lose(folder)
    assert "lacks model-2.safetensors" in unfinished(folder, wanted, "F32", False)[0]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**6) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
READ = ("vocab_size", "tie_word_embeddings", "attention_dropout", "rope_scaling", "model_type", "num_attention_heads")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(key=st.sampled_from(READ), value=JSON)
def test_whatever_a_config_says_the_answer_is_a_text(folder: Path, key: str, value: object) -> None:
    good = (folder / "config.json").read_text()
    try:
        configure(**{key: value})(folder)
        told = list(problems(folder, SHAPE, ""))
        assert all(isinstance(text, str) for text in told)
        assert told or not isinstance(value, str | list)
    finally:
        (folder / "config.json").write_text(good)


BROKEN = [
    "[" * 100_000,
    "{" + '"a":' * 50_000,
    "[]",
    '{"a": 1, "a": 2}',
    "\0",
    '{"a": ' + "9" * 5000 + "}",
    '{"a": "\\ud800"}',
]


@pytest.mark.parametrize("content", BROKEN)
def test_a_config_that_is_no_object_is_named(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    (text,) = problems(folder, SHAPE, "")
    assert "config.json cannot be read" in text


def test_a_kind_of_model_that_is_no_text_is_named(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": {}}))
    (text,) = problems(folder, SHAPE, "")
    assert "names no model_type" in text
    checkpoint.loadable(folder)  # as of an architecture that is not known: what is stored


@pytest.mark.parametrize("width", [{}, [], "16", 1.5, True])
def test_a_width_that_is_no_number_is_named(folder: Path, width: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"head_dim": width}))
    (text,) = problems(folder, SHAPE, "")
    assert "head_dim is " in text


@pytest.mark.parametrize("content", [*BROKEN, "{}", '{"weight_map": "x"}', '{"weight_map": {"a": 1}}'])
def test_an_index_that_is_none_is_named(folder: Path, content: str) -> None:
    (folder / weights.INDEX).write_text(content)
    (text,) = problems(folder, SHAPE, "")
    assert weights.INDEX in text


def test_a_pipe_for_a_config_is_not_waited_for(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    (text,) = problems(folder, SHAPE, "")
    assert "no regular file" in text


def gpt2(folder: Path, tensors: dict[str, object]) -> dict[str, tuple[int, ...]]:
    """A folder with some tensors, of which a model of two has those that are returned."""
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    save_file({name: np.full(shape, 1.0, np.float32) for name, shape in tensors.items()}, folder / "model.safetensors")
    return {"transformer.wte.weight": (5, 2), "transformer.h.0.attn.c_attn.bias": (6,)}


PLAIN = {"wte.weight": (5, 2), "h.0.attn.c_attn.bias": (6,)}


def test_tensors_without_the_models_prefix_are_the_models(tmp_path: Path) -> None:
    """GPT-2's on the hub, with the masks that it stores; what there is beside is refused as ever."""
    expected = gpt2(tmp_path / "hub", {**PLAIN, "h.0.attn.bias": (1, 1, 4, 4), "h.0.attn.masked_bias": ()})
    found = checkpoint.loadable(tmp_path / "hub", expected)
    assert {name: one.shape for name, one in found.items()} == expected
    assert {name: one.shape for name, one in checkpoint.loadable(tmp_path / "hub").items()} == PLAIN
    for number, more in enumerate(({"h.0.attn.bias": (4, 4)}, {"transformer.wte.weight": (5, 2)}, {"x.weight": (1,)})):
        with pytest.raises(RunError):
            checkpoint.loadable(tmp_path / str(number), gpt2(tmp_path / str(number), {**PLAIN, **more}))
