"""What a hash is made of: canonical JSON, the versions of components, and values as JSON both ways.

Two kinds of fields stand side by side in a value. A field takes part in the identity unless it is marked `EXECUTION`: a
name to show, a path on disk, a count of GPUs, nothing that changes weights or scores. Whatever has no stable form is
refused. Meaning is versioned by component, not globally.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeVar, cast

ID_LENGTH = 12
EXECUTION = {"identity": False}
WHERE_CHANGED = {"where_changed": True}  # the field is left out, also of identities, where it has its default
T = TypeVar("T")

# Raised when the meaning of a component changes; the comment is the changelog.
VERSIONS: dict[str, int] = {
    "cleaning": 1,  # 1: rounds from the first prompt on, cut at the first break of roles, empty turns end it
    # Of sources whose rows have such. 1: rows whose keys speak against training them are refused
    # 2: more keys do, contents of parts are text, other names of roles are known, later system turns are left out alone
    "row_keys": 2,
    # 1: a key whose value is null is absent, an input of one character is kept; of sources that have such
    # 2: an input beside any pair, other spellings of turns and more formats are read, choices without a place refused
    # 3: answers of weight 0 are given and not learnt, beside others that are
    "fields": 3,
    "groups": 1,  # 1: proven ones alone; of sources of which the ids were taken for those of chunks, or with a column
    "encoding": 1,  # 1: each round is a segment of its own after the end-of-sequence token
    # Of chat templates. 1: every text as it is, between what the template writes around marks
    # 2: as the template writes it; what `{% generation %}` marks; what it does not ask with but writes is learnt
    "chat_template": 2,
    "subset": 1,  # 1: floor(fraction * pool) first examples of the source's seeded order of groups
    "batches": 1,  # 1: epochs ordered by hash, last batch filled from the epoch's start
    "loss": 2,  # 1: token_mean; 2: device_mean and example_mean beside it, taken over those that have supervised tokens
    "optimizer": 1,  # 1: AdamW, gradient norm clipped, linear warm-up from 0, cosine to 0
    "adapter": 1,  # 1: LoRA, A uniform as PEFT draws it, from NumPy by name and seed, B zero; of stages that have one
    "merge": 1,  # 1: the weighted sum in fp64, rounded once to fp32, and from that to the stages' number format
    "init": 1,  # 1: normal(0, std) from numpy's frozen RandomState, parameters in the order of names, norms 1
    "mini": 1,  # 1: the generated abilities and their test items
    # 1: the graded abilities, their test items, text and recipe of the models pretrained on it 2: jargon, other forms
    "graded": 2,
    # 1: greedy, left padding with an explicit mask 2: prompt style, samples and seeded temperature in the identity
    "generation": 2,
    "heldout_loss": 1,  # 1: mean over the supervised tokens of the source's last examples
    "representations": 1,  # 1: hidden_states[layer] of distinct prompts, one a group; a mean leaves the first token out
}


def canonical(value: Any) -> Any:
    """The stable JSON form of a value; raises TypeError for anything that has none."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value} has no canonical form")
        return value
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, tuple | list):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("the keys of a mapping must be text")
        return {key: canonical(value[key]) for key in sorted(value)}
    if is_dataclass(value) and not isinstance(value, type):
        hashed = (f for f in fields(value) if f.metadata.get("identity", True))
        values = ((f, getattr(value, f.name)) for f in hashed)
        return {f.name: canonical(v) for f, v in values if "where_changed" not in f.metadata or v != f.default}
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical_json(value: Any) -> str:
    """Canonical JSON text: sorted keys, no spaces, ASCII."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Short identity of a value: the first 12 hex digits of the SHA-256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:ID_LENGTH]


def plain(value: Any) -> Any:
    """The fields of a value, execution included, as JSON can hold it; `revive` is its inverse."""
    if isinstance(value, str | int | float) or value is None:
        return value
    if defaults := _fields(cast(Any, type(value))):
        present = ((name, getattr(value, name), default) for name, default in defaults)
        return {name: plain(content) for name, content, default in present if content is not default}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Fraction) else value


@lru_cache
def _fields(kind: type) -> tuple[tuple[str, Any], ...]:
    """(name, the default with which `plain` leaves it out, or MISSING) of a dataclass; none of anything else."""
    if not is_dataclass(kind):
        return ()
    return tuple((f.name, f.default if "where_changed" in f.metadata else MISSING) for f in fields(kind))


def revive(kind: type[T], data: Any) -> T:
    """The value that `plain` took apart; raises ValueError where a field is missing or of another type."""
    value: T = _reviver(cast(Any, kind)).validate_python(data)
    return value


@lru_cache
def _reviver(kind: Any) -> Any:
    from pydantic import TypeAdapter  # 0.1 s that only reading a frozen plan pays

    return TypeAdapter(kind)


def versions(*components: str) -> dict[str, int]:
    """The versions of the named components, for a payload."""
    return {name: VERSIONS[name] for name in components}


def parents_of(payload: Mapping[str, Any]) -> list[str]:
    """The ids of what a stage or a merge is made from, by its payload; none of a base model's."""
    several = [str(one["stage"]) for one in payload.get("parents", ())]
    return several or ([str(payload["parent"])] if "parent" in payload else [])


ABSENT = object()


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Field by field, what two payloads do not share: `recipe.learning_rate 2e-05 -> 0.0001`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        pairs = [(f"{path}.{key}" if path else key, old.get(key, ABSENT), new.get(key, ABSENT)) for key in keys]
        return [d for name, a, b in pairs for d in differences(a, b, name)]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        items = enumerate(zip(old, new, strict=True))
        return [d for i, (a, b) in items for d in differences(a, b, f"{path}[{i}]")]
    shown = ["absent" if value is ABSENT else json.dumps(value) for value in (old, new)]
    return [] if old == new else [" -> ".join(shown) if not path else f"{path} {' -> '.join(shown)}"]
