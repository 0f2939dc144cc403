"""Fractions of sources: exact, in (0, 1], from the text that a user types."""

from collections.abc import Iterator
from fractions import Fraction

from sft_sweeps.config.source_schema import DataConfig
from sft_sweeps.errors import RequestError

LARGEST_WEIGHT = 1000


def parse_fraction(text: str, key: str) -> Fraction:
    """An exact fraction in (0, 1] from `1`, `1/4` or `0.25`; RequestError names the key."""
    try:
        value = Fraction(str(text).strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1:
        raise RequestError(f"{key}={text} is not a fraction in (0, 1]; write it like {key}=1/4, =0.25 or =1")
    return value


def parse_weight(text: str, key: str) -> Fraction:
    """An exact weight above 0 from `2`, `1/2` or `0.5`; RequestError names the key."""
    try:
        value = Fraction(str(text).strip())
    except (ValueError, ZeroDivisionError, OverflowError):
        value = Fraction(0)
    if not 0 < value <= LARGEST_WEIGHT:
        raise RequestError(f"{key}={text} is no weight; write a number above 0, up to {LARGEST_WEIGHT}, like {key}=2")
    return value


def fraction_text(key: str, text: str) -> Iterator[str]:
    """The check of a field that holds a fraction."""
    try:
        parse_fraction(text, key)
    except RequestError as error:
        yield str(error)


def fraction_of(data: DataConfig, slot: str) -> tuple[str, str]:
    """The key that decides a source's fraction, and its text."""
    own = data.fractions.get(slot)
    return ("data.fraction", data.fraction) if own is None else (f"data.fractions.{slot}", own)
