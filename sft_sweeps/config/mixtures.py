"""The keys of `data` that speak of single sources (`data.fractions`, `data.repeat`, `data.weight`), and their checks.

What stands behind such a key is a source's name, its key in `data.sources`, or an ability, all of whose sources are
meant. Where several speak of one source, the nearest counts: the name, then the key, then the ability.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from sft_sweeps.benchmarks.settings import EvaluateConfig
from sft_sweeps.config.fractions import parse_fraction, parse_weight
from sft_sweeps.config.own_names import OF_SOURCES
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import DataConfig
from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.ranges import NumberRange
from sft_sweeps.spec.data import Component, Mixture
from sft_sweeps.terminal import counted

MOST_REPEATS = 1000


def setting(data: DataConfig, name: str, slot: str) -> tuple[str, Any]:
    """The key of `data.fractions`, `.repeat` or `.weight` (`name`) that counts for a source, and its value.

    Where none speaks of it, the key that would, by its place in data.sources, and None.
    """
    given, source = getattr(data, name), data.sources[slot]
    for own in (source.name, slot, source.ability):
        if given.get(own) is not None:
            return f"data.{name}.{own}", given[own]
    return f"data.{name}.{slot}", None


def fraction_of(data: DataConfig, slot: str) -> tuple[str, str]:
    """The key that decides a source's fraction, and its text."""
    key, own = setting(data, "fractions", slot)
    return ("data.fraction", data.fraction) if own is None else (key, own)


def weight_of(data: DataConfig, slot: str) -> Fraction:
    """The weight of a source's tokens in the loss; RequestError names the key."""
    key, own = setting(data, "weight", slot)
    return parse_weight("1" if own is None else own, key)


def problems(c: Config) -> Iterator[str]:
    """Each key names something; fractions take at least one example, repeats and weights are in their ranges."""
    for name in OF_SOURCES:
        yield from _unknown(c.data, name)
    yield from dict.fromkeys(problem for slot in c.data.sources for problem in _fraction(c.data, slot))
    for name, repeat in c.data.repeat.items():
        yield from NumberRange(1, MOST_REPEATS, high_open=False)(f"data.repeat.{name}", 1 if repeat is None else repeat)
    for name, weight in c.data.weight.items():
        try:
            parse_weight("1" if weight is None else weight, f"data.weight.{name}")
        except RequestError as error:
            yield str(error)


def _unknown(data: DataConfig, name: str) -> Iterator[str]:
    names = [own for slot, s in data.sources.items() for own in (slot, s.ability, s.name)]
    valid = list(dict.fromkeys(names))
    for own, value in getattr(data, name).items():
        if own not in valid and value is not None:
            yield (
                f"data.{name}.{own}={value}: this data has no source and no ability {own}; "
                f"it has: {', '.join(valid) or 'none'}{nearest(own, valid, f'data.{name}.')}"
            )


def _fraction(data: DataConfig, slot: str) -> Iterator[str]:
    (key, text), source = fraction_of(data, slot), data.sources[slot]
    try:
        fraction = parse_fraction(text, key)
    except RequestError as error:
        yield str(error)
        return
    if source.rows >= 1 and (source.rows - data.heldout) * fraction < 1:
        yield f"{key}={text} takes no example of {source.name}, which has {source.rows:,} rows; take a larger one"


def check_repeats(chain: Sequence[Mixture], data: DataConfig, batch_size: int) -> None:
    """RequestError where a stage has fewer examples of a repeated source than a batch, which would hold one twice."""
    for number, mixture in enumerate(chain, start=1):
        for c in mixture.components:
            if c.repeat > 1 and 0 < c.examples < batch_size:
                raise RequestError(_too_few(c, data, batch_size, number if len(chain) > 1 else 0))


def _too_few(c: Component, data: DataConfig, batch_size: int, stage: int) -> str:
    key, _ = setting(data, "repeat", c.source.slot)
    where = f" to stage {stage}" if stage else ""
    return (
        f"{key}={c.repeat}: {c.source.name} gives {counted(c.examples, 'example')}{where}, fewer than a batch has "
        f"({batch_size}), so that one would hold an example twice. Type train.batch_size={c.examples} or less, take "
        f"more examples, or leave {key} out"
    )


def limited(data: DataConfig, name: str, available: int) -> tuple[int | None, str]:
    """The limit on a source of which the fraction takes so many; none, and a note, where it is no limit."""
    if data.limit is None or data.limit < available:
        return data.limit, ""
    if data.limit == available:
        return None, ""
    return None, f"data.limit={data.limit} is more than the {available:,} of {name}: all are taken"


def not_held_out(evaluate: EvaluateConfig, components: Sequence[Component]) -> Iterator[str]:
    """That `evaluate.heldout_every` finds no examples of some sources, and what to type."""
    count = evaluate.heldout_examples
    names = [c.source.name for c in components if c.examples > c.source.rows - count]
    if evaluate.heldout_every and names:
        yield (
            f"evaluate.heldout_every={evaluate.heldout_every} finds nothing of {', '.join(names)}: fewer than {count} "
            f"examples are not trained on; type data.heldout={count} (or fewer, with evaluate.heldout_examples)"
        )
