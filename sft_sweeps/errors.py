"""What users see when something is wrong, and the exit status that goes with it.

    SweepError
    +-- RequestError    the request was wrong                exit 2
    +-- RunError        something failed while running       exit 1
    +-- Interrupted     stopped on a signal, resumable       exit 75
    +-- Superseded      a later start does this work         exit 1

A message names the key, the value, what is valid and what to type. Users never see our traceback.
"""

import difflib
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

# What moves a terminal's cursor, gives it orders or turns the reading direction; tab and line feed do no harm.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """A text with its control characters written out (`\\x1b`), so that data which is shown gives no orders."""
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def say_error(text: object) -> None:
    """An error, on standard error."""
    print(f"error {visible(str(text))}", file=sys.stderr)


class SweepError(Exception):
    """Base of every error that is shown to the user as its message alone."""

    exit_status = 1


class RequestError(SweepError):
    """The command line, the configuration or an input file asks for something impossible."""

    exit_status = 2


class RunError(SweepError):
    """A stage, a generation or a score failed."""

    exit_status = 1


class Interrupted(SweepError):  # noqa: N818
    """A signal stopped the work at a step boundary; its resume state is saved (75 is EX_TEMPFAIL of sysexits.h)."""

    exit_status = 75


class Superseded(SweepError):  # noqa: N818
    """A later start of the same job has taken the work over; nothing of this one counts any more."""

    exit_status = 1


def nearest(word: str, valid: Iterable[str], prefix: str = "") -> str:
    """The end of a message about an unknown word: "; did you mean PREFIXword?", or nothing where none is near."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def summary(problems_by_point: Sequence[tuple[str, Iterable[str]]]) -> str:
    """One text for the problems of many points, equal ones together: "in 2 of 7 points, e.g. ..."."""
    where: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for point, problems in problems_by_point:
        for problem in dict.fromkeys(problems):
            counts[problem] += 1
            where.setdefault(problem, point)
    total = len(problems_by_point)
    lines = []
    for problem, count in counts.items():
        if total == 1 or not where[problem]:
            lines.append(problem)
        else:
            lines.append(f"{problem}\n    (in {count} of {total} points, e.g. {where[problem]})")
    return "\n".join(lines)
