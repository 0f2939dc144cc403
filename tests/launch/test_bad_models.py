"""A model's folder that is not what it says, or of a kind that is not trained: one clear message, while planning.

A template that never ends: tests/data/encode/test_template_trial.py.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from training import SHAPE
from values import component, model, request

from sft_sweeps.execution import Executions
from sft_sweeps.jobs.job import missing
from sft_sweeps.launch import preflight
from sft_sweeps.models import train_tokenizer as bpe
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.models.folder import Examined
from sft_sweeps.models.init import materialise
from sft_sweeps.models.pins import tokenizer_pin
from sft_sweeps.plan.build import build
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.train import decoder

TOKENS = 290
ROWS = replace(SHAPE, vocab_size=TOKENS)
MADE = component("math", rows_from="generated")
Change = Callable[[Path], None]


def said(folder: Path, template: str) -> list[str]:
    """What a plan says of a folder's model."""
    pin, _ = tokenizer_pin(str(folder))
    try:
        shape = read_shape(json.loads((folder / "config.json").read_text()), 1)
    except ValueError as error:
        return [str(error)]
    base = model("bad", weights="safetensors:1", tokenizer=pin, path=str(folder), tokenizer_path=str(folder))
    point = request(base=replace(base, shape=shape), components=(MADE,))
    point = replace(point, recipe=replace(point.recipe, template=template), benchmarks=())
    surveyed = survey(build([("", point)]), Store(folder.parent / "store"))
    return preflight.inputs(surveyed, missing(surveyed, Executions()))


def config(**changes: Any) -> Change:
    return lambda folder: rewritten(folder / "config.json", changes)


def tokenizer(**changes: Any) -> Change:
    return lambda folder: rewritten(folder / "tokenizer_config.json", changes)


def rewritten(path: Path, changes: dict[str, Any]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def weights(change: Callable[[dict[str, Any]], Any], **changes: Any) -> Change:
    def apply(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
        config(**changes)(folder)

    return apply


def rows(count: int) -> Callable[[dict[str, Any]], None]:
    def change(found: dict[str, Any]) -> None:
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            found[name] = np.resize(found[name], (count, SHAPE.hidden_size))

    return change


def template(text: str) -> Change:
    return lambda folder: bool((folder / "chat_template.jinja").write_text(text)) and None


AUTO = {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
NORM, BIAS = "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"
BAD: dict[str, tuple[Change, str]] = {
    "narrower": (config(hidden_size=64), "which is to be (290, 64)"),
    "layers": (config(num_hidden_layers=3), "has nothing for model.layers.2"),
    "no heads": (config(num_attention_heads=0), "its heads are 0"),
    "missing": (weights(lambda found: found.pop(NORM)), f"has nothing for {NORM}"),
    "more": (weights(lambda found: found.update({BIAS: np.zeros(32, np.float32)})), f"holds {BIAS}, which a model"),
    "another family": (config(model_type="qwen2"), f"has nothing for {BIAS}"),
    "small embedding": (weights(rows(280), vocab_size=280), "has 290 tokens, the model in "),
    "quantized": (config(quantization_config={"bits": 4}), "quantized weights are not trained"),
    "no eos": (tokenizer(eos_token=None), "names no eos_token, which ends every response"),
    "unknown eos": (tokenizer(eos_token="<no>"), "eos_token '<no>' of "),
    "raises": (template("{{ raise_exception('no') }}"), "fails: no. Choose another"),
    "a megabyte": (template("{{ messages[0].content }}{{ 'x' * 3000000 }}"), "writes more than 1,048,576 characters"),
    "no template": (template("{% for %}"), "the chat template cannot be read"),
    "remote code": (config(model_type="mine", **AUTO), "code that comes with one (auto_map) is not run"),
    "encoder": (config(model_type="t5", is_encoder_decoder=True), "reads with an encoder; only decoders are trained"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    materialise(ROWS, 0, [], made)
    bpe.save(bpe.train(["USER: Tom has 3 apples. ASSISTANT: 3 and 4 is 7."] * 9, TOKENS), made)
    return made


@pytest.mark.parametrize("what", [*BAD, "good", "large embedding", "pad is eos"])
def test_one_message(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "examine", lambda folder: Examined(**decoder.examine(folder)))
    fine = {"large embedding": weights(rows(300), vocab_size=300), "pad is eos": tokenizer(pad_token="</s>")}
    change, expected = BAD.get(what, (fine.get(what, config()), ""))
    change(folder)
    chat = (folder / "chat_template.jinja").is_file()
    texts = said(folder, "chat_template" if chat else "vicuna_bare")
    assert len(texts) == bool(expected), texts
    assert all(expected in text and "Traceback" not in text for text in texts), texts
