"""Imports before a program runs: once for many runs, or for those that could not do it themselves, where the library is
not readable once root is given up."""

import sys

# What generated programs import, with what the library itself imports late.
COMMON = (
    "_strptime abc array bisect calendar cmath collections contextlib copy dataclasses datetime decimal enum fractions "
    "functools hashlib heapq io itertools json math numbers operator queue random re signal statistics string "
    "struct sys textwrap threading time typing unicodedata"
)
# Those of them that programs import most: HumanEval's and MBPP's. None starts anything or keeps anything open.
FREQUENT = "bisect collections copy functools heapq itertools math operator random re string typing"
ACTING = {"__main__", "test", "tests"}  # parts of the names of those that do something when they are imported
LIBRARY = sys.stdlib_module_names - {"antigravity", "idlelib", "test", "this", "turtle", "turtledemo"}


def import_frequent() -> None:
    """Once, for all runs whose keepers are forked from this process."""
    for name in FREQUENT.split():
        __import__(name)


def import_common(text: str) -> None:
    """Import those of the common modules whose names occur in the text, and what it imports of the library.

    The importing process is not confined: it imports no module that is a program, as `venv.__main__` is.
    """
    words = words_of(text)
    wanted = {name for name in COMMON.split() if name.lstrip("_") in words}
    lines = (line.strip() for line in text.splitlines())
    imports = "\n".join(line for line in lines if line.startswith(("import ", "from ")))
    wanted |= words_of(imports) & LIBRARY
    wanted |= {name for name in imports.replace(",", " ").split() if name.partition(".")[0] in LIBRARY}
    for name in sorted(name for name in wanted if not ACTING.intersection(name.split("."))):
        try:
            __import__(name)
        except Exception:
            continue


def words_of(text: str) -> "set[str]":
    return set("".join(c if c.isalnum() or c == "_" else " " for c in text).split())
