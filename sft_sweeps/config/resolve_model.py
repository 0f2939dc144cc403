"""From `model.*` to the exact base model: weights and tokenizer by their content, whatever they are called."""

from dataclasses import fields, replace
from pathlib import Path

from sft_sweeps import PACKAGE
from sft_sweeps.config.train_schema import ModelConfig, TrainConfig
from sft_sweeps.identity import VERSIONS
from sft_sweeps.models.pins import tokenizer_pin, weights_pin
from sft_sweeps.models.tokenizer import CHAT, chat_template, chat_template_pin
from sft_sweeps.spec import Model, Recipe, Shape, made_from_seed

MADE_TOKENIZERS = {  # by `model.weights`, of those that are made here
    "init": str(PACKAGE / "data" / "mini_tokenizer.json"),
    "pretrained": str(PACKAGE / "data" / "graded_tokenizer.json"),
}


def model(entry: ModelConfig) -> Model:
    """The base model; a seed is part of one whose weights are drawn from it."""
    weights, tokenizer_path = _weights(entry), _tokenizer_path(entry)
    tokenizer, tokens = tokenizer_pin(tokenizer_path) if tokenizer_path else (weights, 0)
    shape = Shape(**{f.name: getattr(entry.shape, f.name) for f in fields(entry.shape)})
    initialised = made_from_seed(weights)
    return Model(
        weights=weights,
        tokenizer=tokenizer,
        shape=shape if shape.vocab_size else replace(shape, vocab_size=tokens),
        seed=entry.seed if initialised else 0,
        init_std=entry.init_std if initialised else 0.0,
        name=entry.name,
        path=entry.folder or "",
        tokenizer_path=tokenizer_path,
        gpus=entry.gpus,
        licence=entry.licence,
        origin=entry.weights if "/" in entry.weights else "",
    )


def _weights(entry: ModelConfig) -> str:
    """The digest of a folder's weights, the version of the initialisation, or the pin of a hub repository."""
    if entry.folder:
        return weights_pin(Path(entry.folder))
    if entry.weights == "init":
        return f"init:version={VERSIONS['init']}"
    if entry.weights == "pretrained":
        return f"pretrained:graded={VERSIONS['graded']}:init={VERSIONS['init']}"
    return f"hub:{entry.weights}@{entry.revision}"


def _tokenizer_path(entry: ModelConfig) -> str:
    """The folder or file of the tokenizer; "" where it is the hub repository's own."""
    return entry.tokenizer or entry.folder or MADE_TOKENIZERS.get(entry.weights, "")


def recipe(train: TrainConfig, base: Model) -> Recipe:
    """The exact recipe. Virtual devices mean nothing to other reductions than `device_mean` and must fork no stage."""
    exact = Recipe(**{f.name: getattr(train, f.name) for f in fields(Recipe)})
    devices = exact.virtual_devices if exact.loss_reduction == "device_mean" else 0
    return replace(exact, template=template(exact.template, base), virtual_devices=devices)


def template(name: str, base: Model) -> str:
    """The tokenizer's own chat template by its content; the others are known by their names."""
    if name != CHAT or not base.tokenizer_path:
        return name
    return chat_template_pin(chat_template(Path(base.tokenizer_path)))
