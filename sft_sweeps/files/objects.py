"""Objects of JSON in which a key may stand twice: the last value is read, as by every reader, and the key is noted."""

from collections import Counter
from typing import Any


class Objects:
    """What `json` makes objects with (`object_pairs_hook`)."""

    def __init__(self) -> None:
        self._twice = ""

    def __call__(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            self._twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        return made

    def twice(self) -> str:
        """A key that an object names twice since this was asked last, or ""."""
        found, self._twice = self._twice, ""
        return found
