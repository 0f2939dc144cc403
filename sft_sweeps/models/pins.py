"""Pins: what tokenizers and weights are, by their content; provisional where it cannot be read."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.models import tokenizer, weights

ENDS = ("bos_token", "eos_token")


def tokenizer_pin(path: str) -> tuple[str, int]:
    """(pin of a tokenizer's content and of its first and last token, its number of tokens).

    `path` is a folder or a tokenizer.json; a file alone has the tokens that `train_tokenizer.copy` gives it. The pin is
    `provisional:...` where it cannot be read.
    """
    file = tokenizer.file_of(Path(path))
    try:
        stat = file.stat()
        ends = ("<s>", "</s>") if Path(path).is_file() else _ends(Path(path))
        return _tokenizer(str(file), stat.st_size, stat.st_mtime_ns, ends)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RequestError):
        return f"provisional:{path}", 0


@lru_cache(maxsize=64)
def _tokenizer(name: str, size: int, mtime: int, ends: tuple[str | None, str]) -> tuple[str, int]:  # noqa: ARG001
    content = tokenizer.content(Path(name))
    canonical = json.dumps([content, *ends], sort_keys=True, separators=(",", ":"))
    ids = [token["id"] for token in content["added_tokens"]] + list(content["model"]["vocab"].values())
    return f"tokenizer:{hashlib.sha256(canonical.encode()).hexdigest()}", max(ids) + 1


def _ends(folder: Path) -> tuple[str | None, str]:
    """The tokens that begin, if any does, and end an example, as a tokenizer's folder names them."""
    named = tokenizer.settings(folder)
    first, last = (one["content"] if isinstance(one := named.get(key), dict) else one for key in ENDS)
    if not (isinstance(first, str | None) and isinstance(last, str)):
        raise TypeError(f"{folder / tokenizer.CONFIG} names no eos_token, which ends every response: add it")
    return first, last


def why_provisional(path: str) -> str:
    """Why a tokenizer's content cannot be read."""
    try:
        tokenizer.content(Path(path))
        _ends(Path(path))
    except (TypeError, RequestError) as error:
        return str(error)
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    return f"no readable {tokenizer.FAST} there, or beside it no {tokenizer.CONFIG} that names eos_token"


def weights_pin(folder: Path) -> str:
    """The pin of the weights that are loaded from a folder; `provisional:...` where there are none, or two readings."""
    try:
        files = weights.files(folder)
        files += [path for path in [folder / "config.json"] if path.is_file()]  # it holds RoPE's base and the like
        parts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    except (RunError, OSError):
        return f"provisional:{folder}"
    return _weights(str(folder), tuple(parts))


@lru_cache(maxsize=16)
def _weights(folder: str, parts: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, _, _ in parts:
        with (Path(folder) / name).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return f"safetensors:{total.hexdigest()}"
