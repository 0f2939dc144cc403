"""What is wrong with a model folder, before a GPU is asked for: architecture, shards, shapes, vocabulary, positions.

Headers alone are read, so that 65 GB of weights are looked at in a moment. Nothing here needs torch.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RunError
from sft_sweeps.files import foreign
from sft_sweeps.models import weights
from sft_sweeps.models.architectures import ARCHITECTURES, SPELLINGS, Shapes, read_shape
from sft_sweeps.models.pins import tokenizer_pin
from sft_sweeps.spec.training import Shape

DTYPES = tuple(weights.BYTES)
TOLD = {"fp32": "float32", "bf16": "bfloat16"}  # the number formats of conf/, as config.json calls them
HEAD, EMBEDDINGS = "lm_head.weight", "model.embed_tokens.weight"
COMPUTED = "rotary_emb.inv_freq"  # stored by old versions of transformers; every reader computes it
# As are these, which GPT-2 and GPT-NeoX mask attention with.
MASKS = (".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias")
KINDS: dict[str, Any] = {
    "quantization_config": dict,
    "vocab_size": int,
    "tie_word_embeddings": bool,
    "attention_dropout": (int, float),
    "rope_scaling": dict,
}
KIND_NAMES = {int: "a whole number", bool: "true or false", (int, float): "a number", dict: "an object or null"}


@dataclass(frozen=True)
class Examined:
    """What transformers says of a decoder: why it is not trained, "" where it is, and its parameters' shapes.

    `packed` and `padded` are why it is not trained exactly in rows of several examples, or in padded ones.
    """

    problem: str = ""
    parameters: Shapes = field(default_factory=dict)
    packed: str = ""
    padded: str = ""

    def refusal(self, *, padded: bool) -> str:
        """Why it is not trained so, or ""."""
        own, other = (self.padded, self.packed) if padded else (self.packed, self.padded)
        if self.problem or not own:
            return self.problem
        if other:
            return f"{own}; and {other}"
        return f"{own}, but it is {'without' if padded else 'with it'}: type train.padded={str(not padded).lower()}"


Examine = Callable[[Path], Examined]


def problems(folder: Path, shape: Shape, tokenizer: str, examine: Examine, *, padded: bool = False) -> Iterator[str]:
    """Each with the file, what it holds, what is valid and what to do.

    `tokenizer` is the tokenizer's folder or file, "" where it is the model's own. `examine` is asked of architectures
    whose parameters are not known here; `padded` is how the model is to be trained.
    """
    try:
        config = _read(folder)
    except RunError as error:
        yield str(error)
        return
    wrong = list(_wrong_types(folder / "config.json", config)) or list(_config(folder / "config.json", config, shape))
    examined = Examined()
    if not wrong and not _is_known(config):
        examined = examine(folder)
        refusal = examined.refusal(padded=padded)
        wrong = [f"{folder / 'config.json'}: {refusal}."] if refusal else []
    yield from wrong
    if not wrong:
        yield from _tensors(folder, config, examined.parameters)
        yield from _vocabulary(folder, config, tokenizer or str(folder))


def _is_known(config: Mapping[str, Any]) -> bool:
    """Whether the parameters follow from the dimensions: a LLaMA's, where no biases are added."""
    biased = config.get("attention_bias") or config.get("mlp_bias")
    return str(config.get("model_type")) in ARCHITECTURES and not biased


def _read(folder: Path) -> dict[str, Any]:
    """What config.json says; null says nothing."""
    try:
        written = foreign.read_object(folder / "config.json")
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / 'config.json'} cannot be read ({error}). Fetch it again.") from None
    return {key: value for key, value in written.items() if value is not None}


def _wrong_types(path: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Values of config.json that are read here and are not of their kind, such as a text for a number."""
    sizes = {key for architecture in ARCHITECTURES.values() for key in architecture.config_keys.values()}
    for key, kind in (KINDS | dict.fromkeys(sorted(sizes), int)).items():
        value = config.get(key)
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            continue
        yield f"{path} has {key}={value!r:.60}, which is to be {KIND_NAMES[kind]}. Fetch it again."


def _config(path: Path, config: Mapping[str, Any], shape: Shape) -> Iterator[str]:
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        yield f"{path} names no model_type. Fetch it again."
        return
    if config.get("quantization_config"):
        yield f"{path} has a quantization_config: quantized weights are not trained. Fetch the model without it."
    if config.get("attention_dropout"):
        yield f"{path} sets attention_dropout={config['attention_dropout']}. Dropout is refused: set it to 0."
    scaling = config.get("rope_scaling") or {}
    if model_type in ARCHITECTURES and str(scaling.get("rope_type", scaling.get("type", "default"))) == "linear":
        yield f"{path} scales RoPE, which changes every position. Use the model as it was published."
    if model_type != shape.model_type:
        yield (
            f"{path} describes a {model_type} model, the plan was made for {shape.model_type}. "
            "Type model=hf, which takes the shape from config.json."
        )
        return
    yield from _dimensions(path, config, shape)


def _dimensions(path: Path, config: Mapping[str, Any], shape: Shape) -> Iterator[str]:
    """Those that the plan was made for, as far as config.json says them."""
    try:
        found = read_shape(config)
    except (ValueError, ZeroDivisionError) as error:
        yield f"{path}: {error}. Fetch it again."
        return
    for name, spellings in SPELLINGS.items():
        key = next((key for key in spellings if key in config), "")
        key = key or (SPELLINGS["heads"][0] if name == "kv_heads" and SPELLINGS["heads"][0] in config else "")
        value = getattr(found, name)
        if key and name != "vocab_size" and value != getattr(shape, name):
            yield (
                f"{path} has {key}={value}, the plan was made for {getattr(shape, name)}. "
                f"Set model.shape.{name}={value}."
            )


def _tensors(folder: Path, config: Mapping[str, Any], expected: Shapes) -> Iterator[str]:
    try:
        _select(folder, config, expected)
    except RunError as error:
        yield str(error)
    except OSError as error:
        yield f"the weights in {folder} cannot be read ({error}). Fetch the model again."


def loadable(folder: Path, expected: Shapes | None = None) -> dict[str, weights.StoredTensor]:
    """The tensors that a model of the folder's config.json is loaded from: exactly its parameters.

    `expected` are their shapes by name, where the caller has the model; else they follow from config.json, or, of an
    architecture that is not known here, are all that is stored. RunError where a parameter is missing or has another
    shape, where a tensor is left that the model does not take, or where the embeddings are tied and a head of its own
    is stored: what is loaded would depend on who reads it.
    """
    return _select(folder, _read(folder), expected or {})


def _select(folder: Path, config: Mapping[str, Any], expected: Shapes) -> dict[str, weights.StoredTensor]:
    stored = weights.tensors(folder)
    own = {name: one.shape for name, one in stored.items() if not _is_mask(name, one)}
    expected = expected or _parameters(folder, config) or own
    stored = _as_in_the_model(stored, expected)
    wrong = [name for name, dimensions in expected.items() if name not in stored or stored[name].shape != dimensions]
    if wrong:
        name = wrong[0]
        has = f"{stored[name].shape}" if name in stored else "nothing"
        more = f", and {len(wrong) - 1} more are wrong" if len(wrong) > 1 else ""
        raise RunError(f"{folder} has {has} for {name}, which is to be {expected[name]}{more}. Fetch the model again.")
    if odd := sorted({stored[name].dtype for name in expected} - set(DTYPES)):
        valid = ", ".join(DTYPES)
        raise RunError(f"{folder} holds weights as {', '.join(odd)}. Valid: {valid}. Fetch an unquantized model.")
    _refuse_unexpected(folder, stored, expected)
    return {name: stored[name] for name in expected}


def _as_in_the_model(stored: dict[str, weights.StoredTensor], expected: Shapes) -> dict[str, weights.StoredTensor]:
    """The tensors by their names in the model: of a base without its head (GPT-2's on the hub) these have a prefix.

    As from_pretrained loads such: the prefix is given to all, where no name fits without it.
    """
    prefixes = {name.partition(".")[0] for name in expected if name not in stored}
    prefix = f"{prefixes.pop()}." if len(prefixes) == 1 else ""
    named = {prefix + name: one for name, one in stored.items()}
    return named if prefix and not expected.keys() & stored.keys() and expected.keys() <= named.keys() else stored


def _is_mask(name: str, tensor: weights.StoredTensor) -> bool:
    """Whether a stored tensor is what GPT-2 and GPT-NeoX mask attention with: a square, or one number."""
    return name.endswith(MASKS) and (tensor.shape[:2] == (1, 1) or math.prod(tensor.shape) == 1)


def _parameters(folder: Path, config: Mapping[str, Any]) -> Shapes:
    """What follows from config.json; empty where it does not."""
    if not _is_known(config):
        return {}
    try:
        return ARCHITECTURES[config["model_type"]].parameters(read_shape(config))
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise RunError(f"{folder / 'config.json'} gives no shape of a model ({error}). Fetch it again.") from None


def _refuse_unexpected(
    folder: Path, stored: Mapping[str, weights.StoredTensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    unexpected = {name: one for name, one in stored.items() if name not in expected and not _is_mask(name, one)}
    left = [name for name in unexpected if not name.endswith(COMPUTED)]
    if HEAD in left and EMBEDDINGS in stored and weights.equal(stored[HEAD], stored[EMBEDDINGS]):
        left.remove(HEAD)  # tied, and stored twice
    elif HEAD in left and EMBEDDINGS in stored:
        raise RunError(
            f"{folder / 'config.json'} says tie_word_embeddings=true, and {HEAD} is stored beside {EMBEDDINGS} with "
            "other values. Set tie_word_embeddings to false where the head is the model's own, or delete it."
        )
    if left:
        more = f" and {len(left) - 1} more tensors" if left[1:] else ""
        raise RunError(
            f"{folder} holds {left[0]}{more}, which a model of its config.json does not have (layers, biases): it "
            "would be left out. Correct config.json, or fetch the model again."
        )


def _vocabulary(folder: Path, config: Mapping[str, Any], tokenizer: str) -> Iterator[str]:
    identity, size = tokenizer_pin(tokenizer)
    rows = int(config.get("vocab_size", size))
    if not identity.startswith("provisional:") and size > rows:
        yield (
            f"the tokenizer in {tokenizer} has {size:,} tokens, the model in {folder} embeds {rows:,}: the last would "
            "have no weights. Use the tokenizer that the model was published with: model.tokenizer=FOLDER."
        )


def copy_config(parent: Path, folder: Path, dtype: str) -> None:
    """Write the parent's config.json for weights of another number format."""
    config = foreign.read_object(parent / "config.json")
    config["dtype"] = config["torch_dtype"] = TOLD[dtype]  # older readers know the second name only
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def unfinished(folder: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str, chat_template: bool) -> list[str]:
    """What a model folder that was just written lacks of a finished one."""
    try:
        stored = weights.tensors(folder)
    except RunError as error:
        return [str(error)]
    lacks = []
    for name, shape in shapes.items():
        if name not in stored:
            lacks.append(f"{name} is missing")
        elif (stored[name].shape, stored[name].dtype) != (shape, dtype):
            lacks.append(f"{name} is {stored[name].dtype} {stored[name].shape}, not {dtype} {shape}")
    lacks += [f"{name} is nobody's" for name in stored if name not in shapes]
    for name in ("config.json", "generation_config.json"):
        try:
            foreign.read_object(folder / name)
        except (OSError, ValueError) as error:
            lacks.append(f"{name} cannot be read ({error})")
    if chat_template and not (folder / weights.CHAT_TEMPLATE).is_file():
        lacks.append(f"{weights.CHAT_TEMPLATE} is missing")
    return lacks
