"""`model=hf`: name, dimensions and size are the folder's; what conf/model says of other models is what they have."""

import json
import math
from pathlib import Path

import pytest
from common import ROOT, Points
from omegaconf import OmegaConf
from training import SHAPE

from sft_sweeps.config.resolve import request
from sft_sweeps.config.train_schema import ShapeConfig
from sft_sweeps.identity import canonical
from sft_sweeps.models import architectures
from sft_sweeps.models.hub_cache import revision_of
from sft_sweeps.models.init import materialise
from sft_sweeps.models.train_tokenizer import copy
from sft_sweeps.spec.training import Shape

MINI = ("train=mini", "data=mini", "evaluate=mini", "model.gpus=0")


def folder(tmp_path: Path, **changes: object) -> Path:
    made = tmp_path / "Qwen 9 tiny"
    materialise(SHAPE, 0, [], made)
    copy(ROOT / "sft_sweeps" / "data" / "mini_tokenizer.json", made)
    config = json.loads((made / "config.json").read_text()) | changes
    (made / "config.json").write_text(json.dumps(config))
    return made


def test_shape_and_name_are_the_folders(points: Points, tmp_path: Path) -> None:
    made = folder(tmp_path, model_type="qwen9", head_dim=16)
    (point,) = points("model=hf", f"model.folder={made}", *MINI)
    model = request(point.config).model
    assert (model.name, model.shape.model_type, model.shape.head_width) == ("qwen-9-tiny", "qwen9", 16)
    assert model.shape.parameters == architectures.count_parameters(SHAPE)
    assert (model.shape.layers, model.shape.kv_heads) == (SHAPE.layers, SHAPE.kv_heads)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": "four", "model_type": "x"}, "num_attention_heads is 'four'"),
        ({"num_hidden_layers": None, "model_type": "x"}, "it has none of num_hidden_layers, n_layer"),
    ],
)
def test_a_configuration_without_dimensions(
    points: Points, tmp_path: Path, changes: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(points, folder(tmp_path, **changes), capsys)


def test_no_folder(points: Points, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(points, tmp_path / "nowhere", capsys)
    assert "there is no config.json in" in said
    assert "model.folder=FOLDER" in said


def refused(points: Points, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        points("model=hf", f"model.folder={folder}", *MINI)
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_sizes_in_conf_are_transformers(path: Path) -> None:
    from transformers import CONFIG_MAPPING

    from sft_sweeps.train.decoder import parameters, without_memory

    said = OmegaConf.load(path)
    own = said.get("shape", {})
    if not own or not own.vocab_size or own.get("hidden_size", 0) < 500:
        pytest.skip("its tokenizer or folder says more")
    shape = Shape(**{**dict.fromkeys(("vocab_size",), 0), **own})
    config = CONFIG_MAPPING[shape.model_type](
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim or (128 if shape.model_type == "qwen3" else shape.head_width),
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tie_embeddings,
    )
    counted = sum(math.prod(dimensions) for dimensions in parameters(without_memory(config)).values())
    assert architectures.count_parameters(shape) == counted


def test_what_cannot_be_packed_is_padded_and_said(points: Points, tmp_path: Path) -> None:
    """In the identity and in a note; another model's is what it was before there was padding."""
    made = folder(tmp_path, model_type="falcon", new_decoder_architecture=True, num_kv_heads=SHAPE.kv_heads)
    asked = {}
    for padded in ("null", "true", "false"):
        (point,) = points("model=hf", f"model.folder={made}", f"train.padded={padded}", *MINI)
        asked[padded] = request(point.config)
    assert [one.recipe.padded for one in asked.values()] == [True, True, False]
    assert asked["null"].notes == asked["true"].notes
    assert "falcon does not keep the examples of one row apart" in asked["null"].notes[-1]
    assert not any("padded" in note for note in asked["false"].notes)
    assert canonical(asked["true"].recipe)["padded"] is True
    assert "padded" not in canonical(asked["false"].recipe)
    (point,) = points("model=mini", *MINI)
    assert "padded" not in canonical(request(point.config).recipe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 3}, "its 3 heads cannot share 2 keys"),
        ({"num_attention_heads": 0}, "its heads are 0"),
        ({"num_hidden_layers": -2}, "its layers are -2"),
        ({"num_hidden_layers": 10**9}, "its 1,000,000,000 layers are more than any model has"),
    ],
)
def test_dimensions_of_no_model(
    points: Points, tmp_path: Path, changes: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(points, folder(tmp_path, **changes), capsys)


def test_what_config_json_leaves_out_is_what_transformers_makes_of_it() -> None:
    """The width of MLPs, keys that all heads share, positions."""
    from decoders import made

    for family, expected in (
        ("gpt2", (3072, 12, 1024)),
        ("bloom", (256, 8, 2048)),
        ("falcon", (18176, 1, 2048)),
        ("gpt_bigcode", (3072, 1, 1024)),
        ("mpt", (8192, 16, 2048)),
        ("gptj", (16384, 16, 2048)),
    ):
        shape = architectures.read_shape(made(family).to_dict(), 1)
        assert (shape.intermediate_size, shape.kv_heads, shape.max_positions) == expected, family


def test_a_branch_is_the_commit_that_the_cache_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--a--b" / "refs"
    refs.mkdir(parents=True)
    assert revision_of("a/b", "main") == "main"
    (refs / "main").write_text("0123456789" * 4)
    assert revision_of("a/b", "main") == "0123456789" * 4
    assert set(ShapeConfig.__dataclass_fields__) <= set(Shape.__dataclass_fields__)


def test_nothing_is_named(points: Points, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        points("model=hf", *MINI)
    assert "name its folder, model.folder=FOLDER, or" in " ".join(capsys.readouterr().err.split())
