"""A model folder has one reading: what training, answering, checks and pins take from it, or it is refused by all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import values
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from training import SHAPE
from transformers import AutoModelForCausalLM

from sft_sweeps.errors import RunError
from sft_sweeps.generate import replicas
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models import weights
from sft_sweeps.models.folder import Examined, loadable
from sft_sweeps.models.init import initial_weights, materialise
from sft_sweeps.models.pins import weights_pin

NORM, HEAD, EMBEDDINGS = "model.norm.weight", "lm_head.weight", "model.embed_tokens.weight"
ENGINE = values.generation().engine
Tensors = dict[str, Any]


def write(folder: Path, files: dict[str, Tensors], index: dict[str, str] | None = None, **config: object) -> Path:
    """A model folder of these safetensors files."""
    materialise(SHAPE, 0, [], folder)
    (folder / "model.safetensors").unlink()
    for name, tensors in files.items():
        save_file(tensors, folder / name)
    if index is not None:
        (folder / weights.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | config))
    return folder


def made() -> Tensors:
    return dict(initial_weights(SHAPE, 0))


def halves(tensors: Tensors) -> tuple[dict[str, Tensors], dict[str, str]]:
    """The tensors in two files, and their index."""
    index = {name: f"model-0000{1 + (at > 9)}-of-00002.safetensors" for at, name in enumerate(sorted(tensors))}
    files = {file: {name: tensors[name] for name in tensors if index[name] == file} for file in index.values()}
    return files, index


def without(tensors: Tensors, name: str) -> Tensors:
    return {key: value for key, value in tensors.items() if key != name}


def zeros() -> Tensors:
    return {name: np.zeros_like(value) for name, value in made().items()}


def stray(folder: Path) -> None:
    write(folder, {"model.safetensors": made(), "old_model.safetensors": zeros()})


def stray_beside_shards(folder: Path) -> None:
    files, index = halves(made())
    write(folder, files | {"adapter.safetensors": {NORM: made()[NORM]}}, index)


def broken_stray(folder: Path) -> None:
    write(folder, {"model.safetensors": made()})
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"half of a download")


def whole_beside_shards(folder: Path) -> None:
    files, index = halves(zeros())
    write(folder, files | {"model.safetensors": made()}, index)


def one_tensor_in_two_shards(folder: Path) -> None:
    files, index = halves(made())
    files[next(iter(files))][NORM] = made()[NORM] + 1
    files[index[NORM]][NORM] = made()[NORM]
    other = next(file for file in files if file != index[NORM])
    files[other][NORM] = made()[NORM] + 1
    write(folder, files, index)


def index_of_another_shard(folder: Path) -> None:
    files, index = halves(made())
    write(folder, files, index | {NORM: next(file for file in files if file != index[NORM])})


def index_that_leaves_the_folder(folder: Path) -> None:
    save_file(made(), folder.parent / "else.safetensors")
    write(folder, {}, dict.fromkeys(made(), "../else.safetensors"))


def other_name(folder: Path) -> None:
    write(folder, {"weights.safetensors": made()})


def tied_beside_a_head_of_its_own(folder: Path) -> None:
    write(folder, {"model.safetensors": made()}, tie_word_embeddings=True)


def no_head(folder: Path) -> None:
    write(folder, {"model.safetensors": without(made(), HEAD)})


def no_norm(folder: Path) -> None:
    write(folder, {"model.safetensors": without(made(), NORM)})


def more_layers(folder: Path) -> None:
    write(folder, {"model.safetensors": made() | {"model.layers.2.input_layernorm.weight": made()[NORM]}})


def a_bias(folder: Path) -> None:
    write(folder, {"model.safetensors": made() | {"model.layers.0.self_attn.q_proj.bias": made()[NORM]}})


def one_name_twice(folder: Path) -> None:
    write(folder, {"model.safetensors": made()})
    content = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].rstrip()
    entry = json.dumps(json.loads(header)["model.layers.0.input_layernorm.weight"])
    header = header[:-1] + f', "{NORM}": {entry}}}'.encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])


REFUSED: list[tuple[Callable[[Path], None], str]] = [
    (stray, "old_model.safetensors is not one of the model's files (model.safetensors) and holds"),
    (stray_beside_shards, "adapter.safetensors is not one of the model's files"),
    (broken_stray, "holds what cannot be read"),
    (whole_beside_shards, "Which of them is the model cannot be told"),
    (one_tensor_in_two_shards, f"{NORM} is in"),
    (index_of_another_shard, f"says that {NORM} is in"),
    (index_that_leaves_the_folder, "no safetensors file of its folder"),
    (other_name, "neither model.safetensors nor"),
    (tied_beside_a_head_of_its_own, "says tie_word_embeddings=true, and lm_head.weight is stored"),
    (no_head, "has nothing for lm_head.weight"),
    (no_norm, f"has nothing for {NORM}"),
    (more_layers, "holds model.layers.2.input_layernorm.weight, which a model of its config.json does not have"),
    (a_bias, "holds model.layers.0.self_attn.q_proj.bias"),
    (one_name_twice, "a name stands twice"),
]


def problems(folder: Path) -> list[str]:
    return list(checkpoint.problems(folder, SHAPE, "", lambda _: Examined("it was asked")))


@pytest.mark.parametrize(("spoil", "says"), REFUSED, ids=[spoil.__name__ for spoil, _ in REFUSED])
def test_two_readings_are_refused_before_and_at_loading(
    tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(tmp_path / "model")
    (text,) = problems(tmp_path / "model")
    assert says in text
    with pytest.raises(RunError) as raised:
        loadable(tmp_path / "model")
    assert str(raised.value) == text
    with pytest.raises(RunError) as raised:
        replicas.opened(tmp_path / "model", ENGINE, [""], label="")
    assert str(raised.value) == text


def only_model(folder: Path) -> None:
    write(folder, {"model.safetensors": made()})


def shards(folder: Path) -> None:
    write(folder, *halves(made()))


def other_names_beside_it(folder: Path) -> None:
    write(folder, {"model.safetensors": made(), "consolidated.safetensors": {"norm.weight": made()[NORM]}})


def computed_tensors(folder: Path) -> None:
    write(folder, {"model.safetensors": made() | {"model.layers.0.self_attn.rotary_emb.inv_freq": made()[NORM]}})


def index_of_one(folder: Path) -> None:
    write(folder, {"model.safetensors": made()}, dict.fromkeys(made(), "model.safetensors"))


def tied_and_stored_twice(folder: Path) -> None:
    tensors = made() | {HEAD: made()[EMBEDDINGS]}
    write(folder, {"model.safetensors": tensors}, tie_word_embeddings=True)


GOOD = [only_model, shards, other_names_beside_it, computed_tensors, index_of_one, tied_and_stored_twice]


@pytest.mark.parametrize("make", GOOD, ids=[make.__name__ for make in GOOD])
def test_the_one_reading_is_transformers_own(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "model")
    assert list(problems(tmp_path / "model")) == []
    taken = loadable(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    loaded = dict(model.named_parameters())
    assert taken.keys() == loaded.keys()
    for name, stored in taken.items():
        assert (load_file(stored.file)[name] == loaded[name].detach().numpy()).all()


def test_a_pin_covers_what_is_loaded_and_nothing_else(tmp_path: Path) -> None:
    for make in (only_model, other_names_beside_it, index_of_one):
        make(tmp_path / make.__name__)
    pins = {weights_pin(tmp_path / make.__name__) for make in (only_model, other_names_beside_it, index_of_one)}
    assert len(pins) == 1
    assert pins.pop().startswith("safetensors:")
    whole_beside_shards(tmp_path / "two")
    assert weights_pin(tmp_path / "two").startswith("provisional:")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_header_of_any_bytes_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("header")
    only_model(folder / "model")
    file = folder / "model" / "model.safetensors"
    content = bytearray(file.read_bytes())
    length = int.from_bytes(content[:8], "little")
    at = data.draw(st.integers(0, 8 + length - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    try:
        taken = loadable(folder / "model")
    except RunError:
        return
    sizes = {"F32": 4, "F16": 2, "BF16": 2}
    assert all(t.stop - t.start == np.prod(t.shape) * sizes[t.dtype] for t in taken.values())
