"""Encoded sources on disk: each is encoded once for a tokenizer, template and length, and mapped by everyone.

    OUTPUT_DIR/encoded/<source>-<key>/   ids.bin (int32), mask.bin (bool), index.npz, names.json, account.json last

The key is the content of the source with its rules, the tokenizer's content, the template, the length and the versions
of cleaning and encoding; the source's name is not in it. A folder appears whole, by a rename: who finds it may map it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.data.select import order_of
from sft_sweeps.files.encoded import ACCOUNT, ENCODED, encoded_folder
from sft_sweeps.identity import canonical, digest, versions
from sft_sweeps.spec.data import Source

# Raised so that what a store has is made anew; no stage is. 2: what became of every turn 3: what each key is used for
ACCOUNT_VERSION = 3
TRUNCATED = 1  # of flags; the bits above it are the index of the reason in the account's `reasons`


@dataclass(frozen=True)
class EncodedKey:
    """What is encoded, and how: `tokenizer` is its content's identity."""

    source: Source
    tokenizer: str
    template: str
    max_length: int

    @cached_property
    def key(self) -> str:
        """The identity of the encoded examples."""
        source = {name: value for name, value in canonical(self.source).items() if name != "name"}
        return digest(
            {
                "kind": "encoded",
                "versions": versions("cleaning", "encoding"),
                "account": ACCOUNT_VERSION,
                "source": source,
                "tokenizer": self.tokenizer,
                "template": self.template,
                "max_length": self.max_length,
            }
        )

    def folder(self, root: Path) -> Path:
        """Its folder in a store."""
        return root / ENCODED / f"{self.source.name}-{self.key}"

    def find(self, roots: Sequence[Path]) -> "EncodedSource | None":
        """The encoded source from the first store that has it, whatever name the source had there."""
        folder = encoded_folder(self.key, roots)
        return opened(str(folder), self.source.name) if folder else None


@lru_cache(maxsize=16)
def opened(folder: str, name: str) -> "EncodedSource":
    """The encoded source of a folder, opened once in a process."""
    return EncodedSource(Path(folder), name)


class EncodedSource:
    """The examples of an encoded source, in the order of its rows. Nothing is read before it is used."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.account: dict[str, Any] = json.loads((folder / ACCOUNT).read_text(encoding="utf-8"))
        with np.load(folder / "index.npz") as index:
            self.offsets: npt.NDArray[np.int64] = index["offsets"]
            self.flags: npt.NDArray[np.uint8] = index["flags"]
            self._rows: npt.NDArray[np.int64] = index["rows"]
            self._turns: npt.NDArray[np.int32] = index["turns"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def _ids(self) -> npt.NDArray[np.int32]:
        ids: npt.NDArray[np.int32] = _mapped(self.folder / "ids.bin", np.int32)
        return ids

    @cached_property
    def _mask(self) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = _mapped(self.folder / "mask.bin", np.bool_)
        return mask

    def example_id(self, index: int) -> str:
        """`<source>/<row>`, and for a part of a row `_` and the turn that it begins with."""
        turn = int(self._turns[index])
        return f"{self.name}/{self._rows[index]}" + (f"_{turn}" if turn >= 0 else "")

    @property
    def dropped(self) -> dict[str, int]:
        """Rows and parts of rows that are no examples, by reason."""
        return dict(self.account["dropped"])

    def encoded(self, index: int) -> Encoded:
        """One example; its arrays are views of the file."""
        start, stop = self.offsets[index], self.offsets[index + 1]
        flag = int(self.flags[index])
        reason = self.account["reasons"][flag >> 1]
        return Encoded(
            self.example_id(index),
            self.name,
            self._ids[start:stop],
            self._mask[start:stop],
            bool(flag & TRUNCATED),
            reason,
        )

    def groups(self) -> list[str]:
        """Each example's group; one that belongs to none is its own."""
        names = self.folder / "names.json"
        groups = json.loads(names.read_text(encoding="utf-8")) if names.is_file() else [""] * len(self)
        return [group or self.example_id(index) for index, group in enumerate(groups or [""] * len(self))]

    def order(self, seed: int) -> list[int]:
        """The indices of the examples in the source's seeded order."""
        return order_of(self.groups(), seed, self.name)


def _mapped(path: Path, kind: Any) -> Any:
    # A file of no bytes cannot be mapped. As a plain array, which is ten times faster to slice than a memmap.
    return np.asarray(np.memmap(path, dtype=kind, mode="r")) if path.stat().st_size else np.zeros(0, dtype=kind)
