"""Every key that can be typed, and which of them somebody meant who typed another.

The keys are those of the schema; under names that users give (data.sources.NAME), the names that conf/data uses.
"""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from sft_sweeps.config import new_sources
from sft_sweeps.config.choices import groups
from sft_sweeps.config.schema import Config, evaluate_config

SAME_NAME, MISSPELT, ABBREVIATED, NEAR = 5.0, 2.0, 1.0, 0.6  # how near a key is; below NEAR it is not named
SLIP = 0.85  # of the letters of a name that are the same: a slip of the fingers
ALIKE = 0.5  # of them, below which another name was meant
USUAL = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size"}  # their initials are others' too


def valid_keys(folders: Sequence[Path]) -> list[str]:
    """Every key of the configuration, and every group."""
    slots = new_sources.slots(path for folder in folders for path in folder.glob("data/*.yaml"))
    return list(dict.fromkeys([*_keys(Config(), "", sorted(slots)), *groups(folders)]))


def _keys(settings: Any, prefix: str, slots: Sequence[str]) -> Iterator[str]:
    for field in fields(settings):
        key, value = f"{prefix}{field.name}", getattr(settings, field.name, None)
        kind = type(evaluate_config()) if key == "evaluate" else field.type
        inner = [one for one in get_args(kind) if is_dataclass(one)]
        if is_dataclass(value):
            yield from _keys(value, f"{key}.", slots)
        elif is_dataclass(kind):
            yield from _keys(kind, f"{key}.", slots)
        elif inner and get_origin(kind) is dict:
            for slot in value or slots:
                yield from _keys(inner[0], f"{key}.{slot}.", slots)
        else:
            yield key
            if isinstance(value, dict):
                yield from (f"{key}.{slot}" for slot in slots)


def nearest_key(typed: str, valid: Iterable[str]) -> str:
    """The key that was most likely meant: a misspelt, abbreviated or incomplete one, or one of another group.

    Empty where none is near.
    """
    score, best = max(((_nearness(typed, key), key) for key in valid), default=(0.0, ""))
    return best if score >= NEAR else ""


def _nearness(typed: str, key: str) -> float:
    """Up to 1 by letters; more where the last part is the same name, a slip of it, or its abbreviation."""
    *group, name = typed.lower().replace("-", "_").split(".")
    *key_group, key_name = key.split(".")
    near_group = difflib.SequenceMatcher(None, ".".join(group), ".".join(key_group)).ratio()
    near_group = near_group if group else 0.9 - 0.2 * len(key_group)
    near_name = difflib.SequenceMatcher(None, name, key_name).ratio()
    if not name or (near_name < ALIKE and not _abbreviates(name, key_name)):
        return 0.0
    if name == key_name and key_name != "name":
        return SAME_NAME + near_group - len(key) / 1000
    if near_group > NEAR and (near_name >= SLIP or sorted(name) == sorted(key_name)):
        return MISSPELT + near_name + near_group
    if len(name) > 1 and near_group > NEAR and _abbreviates(name, key_name):
        return ABBREVIATED + near_group
    return (near_name + near_group) / 2


def _abbreviates(short: str, name: str) -> bool:
    """lr, wd, beta1, n_epochs: its words' initials, or the beginning or end of it."""
    initials = "".join(word[0] for word in name.split("_"))
    if short in USUAL:
        return name == USUAL[short]
    return short == initials or name.startswith(short) or name.endswith(short) or short.endswith(name)
