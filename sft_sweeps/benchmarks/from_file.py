"""What benchmarks share of `sft-sweeps score NAME FILE`: reading a file from anywhere, and whether it is complete."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sft_sweeps.benchmarks.published import Rows, parse
from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing


def read(path: Path) -> Rows:
    """The rows of JSON lines, plain or gzip; RequestError names what is wrong and where."""
    try:
        with packing.opened(path) as file:
            text = file.read().decode("utf-8")
    except OSError as error:
        raise RequestError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"{path} is not UTF-8 text ({error})") from error
    rows = parse(text, str(path))
    if not rows:
        raise RequestError(f"{path} has no rows; nothing can be scored")
    return rows


def require_unique(ids: Sequence[str], path: Path, key: str) -> None:
    """RequestError where an item is answered twice."""
    if repeated := [name for name, count in Counter(ids).items() if count > 1]:
        raise RequestError(
            f"{path}: {key} {repeated[0]} occurs {ids.count(repeated[0])} times; each item is answered once"
        )


def require_complete(answered: int, expected: int, what: str, path: Path, partial: bool) -> None:
    """RequestError unless all are answered, or, where a partial set is asked for, not more than there are."""
    if answered != expected and not (partial and answered < expected):
        hint = "; score what is there, named as partial, with --partial" if answered < expected else ""
        raise RequestError(f"{path} answers {answered:,} of the {expected:,} {what}{hint}")
