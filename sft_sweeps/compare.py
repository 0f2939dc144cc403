"""What two values as JSON holds them do not share, field by field."""

import json
from collections.abc import Mapping
from typing import Any

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
