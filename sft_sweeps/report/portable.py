"""What a report says of the machine that made it: nothing. It is read elsewhere, and published."""

import re
from pathlib import Path

from sft_sweeps.store.store import Store

NOT_TO_REPEAT = ("output_dir=",)  # where a store lies is the machine's
ABSOLUTE = re.compile(r"(^|=|,|\[)(?:~|/)[^\s,\]]*/")  # the folder of a file that a point names


def point(line: str) -> str:
    """A point's overrides without the store, and of the user's own files the names alone (`.../rows.jsonl`)."""
    words = (word for word in line.split() if not word.startswith(NOT_TO_REPEAT))
    return " ".join(ABSOLUTE.sub(r"\1.../", word) for word in words)


def message(said: str, store: Store) -> str:
    """What is said of files in a store, with their paths from where it begins."""
    roots = {str(path) for root in store.roots for path in (root, root.absolute()) if root != Path()}
    for root in sorted(roots, key=len, reverse=True):
        said = said.replace(f"{root}/", "")
    return said
