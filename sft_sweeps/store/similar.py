"""The stage that a new one resembles most, found without comparing it with all of its namesakes.

A sweep of seeds has as many namesakes as stages, so each is read once, and looked up by all of its fields but one, with
and without its parent: what differs in one field alone is found at once, whatever the number of namesakes. Where none
is so near, the new stage is compared with the last FEW of them.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import ID_LENGTH, differences

FEW = 8
PARENT = "parent"


class Namesakes:
    """Folders of stages of one label, read when they are first asked for."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._payloads: list[tuple[Path, Any]] | None = None
        self._near: dict[int, int] = {}  # the first namesake by what is left of it without a field

    def nearest(self, payload: Mapping[str, Any]) -> tuple[list[str], str] | None:
        """What a stage has changed against the namesake most like it, and that one's id; None without any."""
        known = self._read()
        if not known:
            return None
        near = [self._near[key] for key in _partial(payload) if key in self._near]
        candidates = dict.fromkeys([*near, *range(max(0, len(known) - FEW), len(known))])
        compared = ((differences(known[n][1], payload), known[n][0].name[-ID_LENGTH:]) for n in candidates)
        return min((pair for pair in compared if pair[0]), key=lambda pair: len(pair[0]), default=None)

    def _read(self) -> list[tuple[Path, Any]]:
        if self._payloads is None:
            self._payloads = [(folder, stored) for folder in self.folders if (stored := _identity(folder))]
            for number, (_, stored) in enumerate(self._payloads):
                for key in _partial(stored):
                    self._near.setdefault(key, number)
        return self._payloads


def by_label(folders: Iterable[Path]) -> dict[str, Namesakes]:
    """The folders of stages, by the stages' labels."""
    found: dict[str, list[Path]] = {}
    for folder in folders:
        found.setdefault(folder.name[: -ID_LENGTH - 1], []).append(folder)
    return {label: Namesakes(of) for label, of in found.items()}


def _identity(folder: Path) -> Any:
    """What a folder says it is; None where it does not."""
    with contextlib.suppress(ValueError, OSError):
        return read_json(folder / "identity.json")
    return None


def _partial(payload: Any) -> Iterator[int]:
    """Sums of a payload's fields: without the parent; without each field; without the parent and each other one.

    A sum of the fields' hashes takes one field out in one step.
    """
    hashes = {path: hash((path, text)) for path, text in _fields(payload)}
    whole, parent = sum(hashes.values()), hashes.pop(PARENT, 0)
    yield whole - parent
    for path, value in hashes.items():
        yield hash((path, whole - value))
        yield hash((path, whole - value - parent, PARENT))


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every value inside a payload, with its path."""
    if isinstance(value, Mapping):
        for key, content in value.items():
            yield from _fields(content, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, content in enumerate(value):
            yield from _fields(content, f"{path}[{index}]")
    else:
        yield path, json.dumps(value)
