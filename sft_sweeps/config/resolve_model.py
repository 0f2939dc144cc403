"""From `model.*` to the exact base model: weights and tokenizer by their content, whatever they are called."""

import re
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from sft_sweeps import PACKAGE
from sft_sweeps.config.train_schema import ModelConfig, ShapeConfig, TrainConfig
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.files import foreign
from sft_sweeps.identity import VERSIONS
from sft_sweeps.models import hub_cache, weights
from sft_sweeps.models.architectures import is_padded, read_shape
from sft_sweeps.models.pins import tokenizer_pin, weights_pin
from sft_sweeps.models.tokenizer import CHAT, chat_template, chat_template_pin
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.training import Model, Recipe, Shape, made_from_seed

UNNAMEABLE = re.compile(r"[^A-Za-z0-9._-]+")  # in a model's name, which is part of folders' names
OF_DATA = {"order", "source_order"}  # fields of a recipe that data.order decides

MADE_TOKENIZERS = {  # by `model.weights`, of those that are made here
    "init": str(PACKAGE / "data" / "mini_tokenizer.json"),
    "pretrained": str(PACKAGE / "data" / "graded_tokenizer.json"),
}


def model(entry: ModelConfig) -> Model:
    """The base model; a seed is part of one whose weights are drawn from it."""
    pin, tokenizer_path = _weights(entry), _tokenizer_path(entry)
    tokenizer, tokens = tokenizer_pin(tokenizer_path) if tokenizer_path else (pin, 0)
    shape = Shape(**{f.name: getattr(entry.shape, f.name) for f in fields(entry.shape)})
    initialised = made_from_seed(pin)
    return Model(
        weights=pin,
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


def with_own_shape(entry: ModelConfig) -> ModelConfig:
    """The entry with the dimensions that the config.json of its weights has, and a name, where it gives none itself."""
    if entry.shape.hidden_size or entry.weights in MADE_TOKENIZERS:
        return entry
    if not (entry.folder or entry.weights):
        raise RequestError(
            "model=hf takes its shape from a model: name its folder, model.folder=FOLDER, or what Hugging Face's cache "
            "has, model.weights=OWNER/NAME model.revision=COMMIT"
        )
    folder = Path(entry.folder) if entry.folder else hub_cache.folder_of(_weights(entry))
    shape = _shape_of(str(folder), _changed(folder / "config.json"))
    known = {f.name: getattr(shape, f.name) for f in fields(ShapeConfig)}
    name = entry.name or UNNAMEABLE.sub("-", Path(entry.folder or entry.weights).resolve().name).strip("-").lower()
    return replace(entry, name=name, shape=ShapeConfig(**known))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=32)
def _shape_of(name: str, changed: int) -> Shape:
    """The shape of a model folder, by the time at which its config.json was `changed`, 0: there is none."""
    folder = Path(name)
    if not changed:
        raise RequestError(
            f"there is no config.json in {folder}, from which model=hf takes the model's shape. Name the folder of a "
            "model, model.folder=FOLDER, or fetch it: hf download OWNER/NAME --revision COMMIT"
        )
    try:
        return read_shape(foreign.read_object(folder / "config.json"), weights.count(folder))
    except (OSError, ValueError, RunError) as error:
        raise RequestError(f"{folder / 'config.json'} describes no decoder that can be trained: {error}") from None


def _weights(entry: ModelConfig) -> str:
    """The digest of a folder's weights, the version of the initialisation, or the pin of a hub repository."""
    if entry.folder:
        return weights_pin(Path(entry.folder))
    if entry.weights == "init":
        return f"init:version={VERSIONS['init']}"
    if entry.weights == "pretrained":
        return f"pretrained:graded={VERSIONS['graded']}:init={VERSIONS['init']}"
    return f"hub:{entry.weights}@{hub_cache.revision_of(entry.weights, entry.revision)}"


def _tokenizer_path(entry: ModelConfig) -> str:
    """The folder or file of the tokenizer; "" where it is the hub repository's own."""
    return entry.tokenizer or entry.folder or MADE_TOKENIZERS.get(entry.weights, "")


def recipe(train: TrainConfig, base: Model, order: str = "shuffled") -> Recipe:
    """The exact recipe. Virtual devices mean nothing to other reductions than `device_mean` and must fork no stage.

    `order` is data.order, that of the examples; which sources follow one another, a stage's mixture says.
    """
    named = {f.name: getattr(train, f.name) for f in fields(Recipe) if f.name not in OF_DATA}
    exact = Recipe(**named | {"adapter": adapter(train), "order": order})
    devices = exact.virtual_devices if exact.loss_reduction == "device_mean" else 0
    padded = is_padded(base.shape.model_type) if train.padded is None else train.padded
    return replace(exact, template=template(exact.template, base), virtual_devices=devices, padded=padded)


def padding_notes(base: Model, exact: Recipe) -> list[str]:
    """That examples are padded, and why; none where they are not."""
    if not exact.padded:
        return []
    kind = base.shape.model_type
    why = f"{kind} does not keep the examples of one row apart" if is_padded(kind) else "train.padded=true"
    return [f"{base.name}: each example is trained in a padded row of its own ({why}); the loss is the same"]


def adapter(train: TrainConfig) -> Adapter | None:
    """The exact adapter, its targets in the order of their names; None where all weights are trained."""
    asked = train.lora
    if train.adapter == "none":
        return None
    alpha = 2.0 * asked.rank if asked.alpha is None else asked.alpha
    targets = tuple(sorted(set(asked.targets)))
    return Adapter("lora", asked.rank, alpha, asked.dropout, targets, cast(Any, asked.then))


def template(name: str, base: Model) -> str:
    """The tokenizer's own chat template by its content; the others are known by their names."""
    if name != CHAT or not base.tokenizer_path:
        return name
    return chat_template_pin(chat_template(Path(base.tokenizer_path)))
