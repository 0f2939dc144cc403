"""Fractions of sources and weights of their tokens: exact, from the text that a user types."""

import re
from collections.abc import Iterator
from fractions import Fraction

from sft_sweeps.errors import RequestError

LARGEST_WEIGHT = 1000  # and its inverse is the smallest
LONGEST = 100  # characters of a number
LARGE = re.compile(r"e[+-]?\d{4}", re.IGNORECASE)  # a power of ten that would take hours to write out


def parse_fraction(text: str, key: str) -> Fraction:
    """An exact fraction in (0, 1] from `1`, `1/4` or `0.25`; RequestError names the key."""
    value = exact(text)
    if value is None or not 0 < value <= 1:
        raise RequestError(f"{key}={text} is not a fraction in (0, 1]; write it like {key}=1/4, =0.25 or =1")
    return value


def parse_weight(text: str, key: str) -> Fraction:
    """An exact weight from `2`, `1/2` or `0.5`; RequestError names the key."""
    value = exact(text)
    if value is None or not 1 <= value * LARGEST_WEIGHT <= LARGEST_WEIGHT**2:
        nothing = "; to train on none of it, leave the source out" if value == 0 else ""
        raise RequestError(
            f"{key}={text:.40} is no weight; write a number from 1/{LARGEST_WEIGHT} to {LARGEST_WEIGHT}, like {key}=2"
            f"{nothing}"
        )
    return value


def exact(text: str) -> Fraction | None:
    """The number; None for what is none, or would take hours to write out."""
    text = str(text).strip()
    try:
        return None if len(text) > LONGEST or LARGE.search(text) else Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def fraction_text(key: str, text: str) -> Iterator[str]:
    """The check of a field that holds a fraction."""
    try:
        parse_fraction(text, key)
    except RequestError as error:
        yield str(error)
