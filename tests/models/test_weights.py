"""Weights on disk: the digest, the shards, and a base model that is the same bytes everywhere."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from training import SHAPE
from transformers import AutoModelForCausalLM

from sft_sweeps.errors import RunError
from sft_sweeps.models import weights
from sft_sweeps.models.architectures import LLAMA, count_parameters
from sft_sweeps.models.init import initial_weights, materialise

GOLDEN = "sha256:59f8f827aebcba04e912c679099e365bdaeab3246b68e5f3cb47bc6eaa31b58b"


def test_the_digest_of_a_base_model_is_golden(tmp_path: Path) -> None:
    materialise(SHAPE, 0, [], tmp_path / "base")
    materialise(SHAPE, 1, [], tmp_path / "other")
    assert weights.digest(tmp_path / "base") == GOLDEN
    assert weights.digest(tmp_path / "other") != GOLDEN


def test_materialise_leaves_what_stands_and_nothing_else(tmp_path: Path) -> None:
    materialise(SHAPE, 0, [], tmp_path / "base")
    marked = tmp_path / "base" / "mark"
    marked.touch()
    materialise(SHAPE, 1, [], tmp_path / "base")
    assert marked.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    assert weights.digest(tmp_path / "base") == GOLDEN


@pytest.mark.parametrize("tied", [False, True])
def test_a_base_model_loads_whole(tmp_path: Path, tied: bool) -> None:
    shape = replace(SHAPE, tie_embeddings=tied, kv_heads=4)
    materialise(shape, 0, [], tmp_path / "base")
    model, report = AutoModelForCausalLM.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert {key: list(found) for key, found in report.items() if found} == {}
    assert {name: tuple(tensor.shape) for name, tensor in sorted(model.named_parameters())} == LLAMA.parameters(shape)
    assert weights.count(tmp_path / "base") == sum(tensor.numel() for tensor in model.parameters())
    assert weights.count(tmp_path / "base") == count_parameters(shape)


def test_the_digest_does_not_depend_on_shards(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    tensors = initial_weights(SHAPE, 0)
    save_file(tensors, whole / "model.safetensors")
    places = weights.shard_names({name: tensor.nbytes for name, tensor in tensors.items()}, 20_000)
    assert sorted(set(places.values())) == [f"model-{n:05d}-of-00007.safetensors" for n in range(1, 8)]
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, cut / file, metadata={"a": "b"})
    weights.write_index(cut, places, sum(tensor.nbytes for tensor in tensors.values()))
    assert weights.digest(cut) == weights.digest(whole) == GOLDEN
    found = load_file(whole / "model.safetensors")
    found["model.norm.weight"] = np.nextafter(found["model.norm.weight"], np.float32(2))
    save_file(found, whole / "model.safetensors")
    assert weights.digest(whole) != GOLDEN


def test_shards_hold_at_most_their_limit_where_they_can() -> None:
    sizes = {"a": 4, "b": 4, "c": 3, "d": 20, "e": 1}
    assert weights.shard_names(sizes, 100) == dict.fromkeys(sizes, "model.safetensors")
    names = weights.shard_names(sizes, 8)
    assert [name[6:11] for name in names.values()] == ["00001", "00001", "00002", "00003", "00004"]


def test_files_that_are_cut_short_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no weights"):
        weights.digest(tmp_path)
    materialise(SHAPE, 0, [], tmp_path / "base")
    file = tmp_path / "base" / "model.safetensors"
    whole = file.read_bytes()
    for length in (4, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(RunError, match="cut short"):
            weights.digest(tmp_path / "base")
