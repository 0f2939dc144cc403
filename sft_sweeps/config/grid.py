"""From a study and a command line to the points of a sweep.

A grid is a line one would type: `model=llama7b,llama13b strategy=dmt strategy.k=1/4,1/16` spans the product of its
axes. An axis of the command line joins every line, unless the study sweeps it: then the command
line *restricts* the study to the rows that have one of its values. `study=table1 model=llama7b` keeps the 7B rows,
`study=table1 strategy.k=1/256` those of DMT. A line of a grid may name a study in the same way.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import inf, prod

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import HydraException

from sft_sweeps.config import own_names
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError

Axes = dict[str, list[str]]
POINTS_LIMIT = 20_000  # of a sweep; to compose one takes some milliseconds


@dataclass(frozen=True)
class Point:
    """One composed configuration and the overrides that name it."""

    name: str
    config: Config


def axes(overrides: Iterable[str], loader: ConfigLoader | None = None) -> Axes:
    """Each override's key with its values; of two with the same key the later counts.

    `loader` knows the choices of each group, for `model=glob(llama*)`.
    """
    values_by_key: Axes = {}
    for override in OverridesParser.create(loader).parse_overrides(list(overrides)):
        key = own_names.as_typed(override.get_key_element())
        swept = override.is_sweep_override()
        values_by_key[key] = _swept(override) if swept else [override.get_value_element_as_str()]
    return values_by_key


def _swept(override: Override) -> list[str]:
    """The values of one axis; a range may be written that holds more than any machine."""
    value, text = override.value(), f"{override.input_line:.80}"
    if isinstance(value, RangeSweep) and _length(value) > POINTS_LIMIT:
        raise RequestError(
            f"{text} gives {_length(value):,.0f} values; {POINTS_LIMIT:,} points are the most of a sweep"
        )
    try:
        values = [str(value) for value in override.sweep_string_iterator()]
    except (HydraException, ValueError, ArithmeticError) as error:
        raise RequestError(f"{text}: {error}; write a list of values, a,b") from error
    if not values:
        raise RequestError(f"{text} gives no value; write a list of values, a,b")
    return values


def _length(swept: RangeSweep) -> float:
    if swept.start is None or swept.stop is None or not swept.step:
        return 0
    try:
        return abs(float(swept.stop) - float(swept.start)) / abs(float(swept.step))
    except OverflowError:
        return inf


def line_axes(line: str, where: str, loader: ConfigLoader | None = None) -> Axes:
    """The axes of a study's or a grid's line; RequestError names the line that cannot be parsed."""
    try:
        return axes(shlex.split(line), loader)
    except (HydraException, ValueError, RequestError) as error:
        raise RequestError(f"{where}: cannot read the line '{line}': {error}") from error


def joined(lines: Sequence[Axes], command: Mapping[str, list[str]], where: str) -> list[Axes]:
    """The lines with a command line's axes: one that any line sweeps restricts, any other is added to each."""
    _refuse_unknown_values(lines, command, where)
    swept = {key for line in lines for key in line}
    made: list[Axes] = []
    for line in lines:
        if any(key in swept and key not in line for key in command):
            continue
        axes = {key: _restrict(line[key], command[key]) if key in command else line[key] for key in line}
        made.append({**axes, **{key: values for key, values in command.items() if key not in line}})
    if not any(all(line.values()) for line in made):
        raise RequestError(f"{where}: no line of its grid has all of {' '.join(_as_typed(command))}")
    return made


def expand(lines: Sequence[Axes], command: Mapping[str, list[str]], where: str) -> list[list[str]]:
    """The overrides of every point, lines in order; RequestError when the command line leaves none."""
    points: list[list[str]] = []
    for line in joined(lines, command, where):
        count = len(points) + prod(map(len, line.values()))
        if count > POINTS_LIMIT:
            raise RequestError(f"{where} spans {count:,} points; {POINTS_LIMIT:,} are the most of a sweep")
        points += [_overrides(line, values) for values in product(*line.values())]
    return points


def _refuse_unknown_values(lines: Sequence[Axes], command: Mapping[str, list[str]], where: str) -> None:
    """A value that no line of the study sweeps is a mistake, not an empty sweep."""
    for key, values in command.items():
        swept = [value for line in lines for value in line.get(key, [])]
        for value in values:
            if swept and not _restrict(swept, [value]):
                valid = ", ".join(dict.fromkeys(swept))
                raise RequestError(
                    f"{where} sweeps {key} over {valid}; {key}={value} is not among them. For other values leave the "
                    "study out and type its choices yourself; its file in conf/study lists them."
                )


def _restrict(values: Sequence[str], wanted: Sequence[str]) -> list[str]:
    keep = {_comparable(value) for value in wanted}
    return [value for value in values if _comparable(value) in keep]


def _comparable(value: str) -> str | Fraction:
    """0.25 and 1/4 are one value of an axis."""
    try:
        return Fraction(value)
    except (ValueError, ZeroDivisionError):
        return value


def _overrides(keys: Iterable[str], values: Iterable[str]) -> list[str]:
    return [
        key if key.startswith("~") and not value else f"{key}={value}" for key, value in zip(keys, values, strict=True)
    ]


def _as_typed(command: Mapping[str, list[str]]) -> list[str]:
    return [f"{key}={','.join(values)}" for key, values in command.items()]
