"""What files, tokenizers and weights are, by their content: the pins and hashes that identities are made of.

Reading is remembered by size and time of change, so that a file is read once however many runs use it. What is not
there yet is provisional.
"""

import codecs
import hashlib
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.files.rows import count_parquet, read_rows
from sft_sweeps.models import tokenizer

ENDS = ("bos_token", "eos_token")
MADE = ".made.json"  # beside a file that was made from a data set of the hub


def content_of(path: Path, pin: str = "") -> tuple[str, int]:
    """(identity of a file's unpacked bytes in the form of the pin, number of its rows)."""
    stat = path.stat()
    blob, sha256, rows = _hash(str(path), stat.st_size, stat.st_mtime_ns)
    if pin.startswith("hub:") and _made_from(path) == {"pin": pin, "sha256": sha256}:
        return pin, rows
    return (f"git-blob:{blob}" if f"git-blob:{blob}" == pin else f"sha256:{sha256}"), rows


def _made_from(path: Path) -> Any:
    """What `prepare` noted beside a file that it made."""
    try:
        return json.loads(path.with_name(path.name + MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=256)
def _hash(name: str, size: int, mtime: int) -> tuple[str, str, int]:  # noqa: ARG001
    """(git blob id, SHA-256, rows) of the unpacked bytes; size and time are the cache's key."""
    with packing.opened(name) as file:
        length = sum(map(len, _blocks(file)))
    blob, sha256 = hashlib.sha1(f"blob {length}\0".encode(), usedforsecurity=False), hashlib.sha256()
    with packing.opened(name) as file:
        for block in _blocks(file):
            blob.update(block)
            sha256.update(block)
    return blob.hexdigest(), sha256.hexdigest(), _rows(name)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(packing.BLOCK), b"")


def _rows(name: str) -> int:
    """The rows of a file as the reader counts them; of a broken array its lines, since each of them may be one."""
    if packing.packing(name) == "parquet":
        return count_parquet(name)
    with packing.opened(name) as file:
        lines = (line.removeprefix(codecs.BOM_UTF8).strip() for line in file)
        first = next((line for line in lines if line), b"")
        count = bool(first) + sum(map(bool, lines))
    if first[:1] != b"[":
        return count
    try:
        return sum(1 for _ in read_rows(Path(name), "rows"))
    except RequestError:
        return count


def tokenizer_of(place: str) -> tuple[str, int]:
    """(identity of a tokenizer's content and of its first and last token, its number of tokens).

    Provisional when it cannot be read. A file alone has the tokens that `tokenizer.copy` gives it.
    """
    path = tokenizer.file_of(Path(place))
    try:
        stat = path.stat()
        ends = ("<s>", "</s>") if Path(place).is_file() else _ends(Path(place))
        return _tokenizer(str(path), stat.st_size, stat.st_mtime_ns, ends)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RequestError):
        return f"provisional:{place}", 0


@lru_cache(maxsize=64)
def _tokenizer(name: str, size: int, mtime: int, ends: tuple[str, str]) -> tuple[str, int]:  # noqa: ARG001
    content = tokenizer.content(Path(name))
    canonical = json.dumps([content, *ends], sort_keys=True, separators=(",", ":"))
    ids = [token["id"] for token in content["added_tokens"]] + list(content["model"]["vocab"].values())
    return f"tokenizer:{hashlib.sha256(canonical.encode()).hexdigest()}", max(ids) + 1


def _ends(folder: Path) -> tuple[str, str]:
    """The tokens that begin and end an example, as a tokenizer's folder names them."""
    named = tokenizer.settings(folder)
    first, last = (named[key]["content"] if isinstance(named[key], dict) else named[key] for key in ENDS)
    if not (isinstance(first, str) and isinstance(last, str)):
        raise TypeError(f"{folder} names no {' and '.join(ENDS)}")
    return first, last


def weights_of(folder: Path) -> str:
    """Identity of the safetensors weights in a folder; provisional when there are none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return f"provisional:{folder}"
    files += [path for path in [folder / "config.json"] if path.is_file()]  # it holds RoPE's base and the like
    parts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return _weights(str(folder), tuple(parts))


@lru_cache(maxsize=16)
def _weights(folder: str, parts: tuple[tuple[str, int, int], ...]) -> str:
    total = hashlib.sha256()
    for name, _, _ in parts:
        with (Path(folder) / name).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return f"safetensors:{total.hexdigest()}"
