"""The lines of charts: which cells stand on one line, in which panel, and where on its axis.

Every chart puts one benchmark under one protocol into a panel, and one model under one recipe on a line; nothing else
that a run is made of differs along a line but what its axis says. What a function cannot draw it returns no line for.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sft_sweeps.analysis.cells import Cell
from sft_sweeps.analysis.observations import Setting, grouped

MIXED, REPLAYED, SEQUENTIAL_MIXED = "multi_task", "dmt", "mixed_sequential"


@dataclass(frozen=True, slots=True)
class Panel:
    """What shares a value axis; `protocol` is "" where the benchmark has one alone."""

    benchmark: str
    metric: str
    share: bool
    protocol: str = ""

    @property
    def title(self) -> str:
        return f"{self.benchmark} (protocol {self.protocol[:6]})" if self.protocol else self.benchmark

    @property
    def unit(self) -> str:
        return f"{self.metric} (%)" if self.share else self.metric


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its points from left to right; `origin` is whose values they are, `base` that of its base model."""

    panel: Panel
    model: str
    name: str
    points: tuple[tuple[float, Cell], ...]
    origin: str = "ours"


Place = Callable[[Cell], float | None]
Name = Callable[[Cell], str]


def panels(cells: Sequence[Cell]) -> dict[Cell, Panel]:
    """The panel of each cell; a paper's, whose protocol is never ours, stand in their benchmark's first."""
    ours = [cell for cell in cells if cell.first.origin == "ours"] or list(cells)
    protocols = grouped(ours, lambda cell: cell.first.benchmark)
    several = {name for name, of in protocols.items() if len({cell.first.protocol for cell in of}) > 1}
    first = {name: of[0].first.protocol for name, of in protocols.items()}
    found = {}
    for cell in cells:
        like = cell.first
        protocol = like.protocol if like.origin == "ours" else first.get(like.benchmark, "")
        protocol = protocol if like.benchmark in several else ""
        found[cell] = Panel(like.benchmark, like.metric, like.share, protocol)
    return found


def models(cells: Iterable[Cell]) -> dict[Cell, str]:
    """How the model of each cell is called: with its recipe where a model was trained under several."""
    listed = list(cells)
    ours = grouped((cell for cell in listed if cell.first.origin == "ours"), lambda cell: cell.setting.model)
    variants = {model: {c.setting.variant for c in of if c.setting.arm != "base"} for model, of in ours.items()}
    named = {}
    for cell in listed:
        setting = cell.setting
        of_several = len(variants.get(setting.model, ())) > 1 and setting.arm != "base"
        recipe = f" (recipe {setting.variant[:6]})" if of_several and cell.first.origin == "ours" else ""
        named[cell] = setting.model + recipe
    return named


def lines(cells: Sequence[Cell], place: Place, name: Name, least: int = 2) -> list[Series]:
    """Cells by panel, model, name and origin, placed; a line of ours has at least so many places."""
    of_panel, of_model = panels(cells), models(cells)
    made: dict[tuple[Panel, str, str, str], list[tuple[float, Cell]]] = {}
    for cell in cells:
        at = place(cell)
        if at is not None:
            key = (of_panel[cell], of_model[cell], name(cell), cell.first.origin)
            made.setdefault(key, []).append((at, cell))
    ordered = [Series(*key[:3], tuple(sorted(of, key=lambda point: point[0])), key[3]) for key, of in made.items()]
    ordered.sort(key=lambda one: one.points[0][1].setting.parameters)
    return [one for one in ordered if one.origin != "ours" or len({at for at, _ in one.points}) >= least]


def scaling(cells: Sequence[Cell]) -> list[Series]:
    """Of models trained on a benchmark's ability alone: the score over the examples of that ability."""
    return lines([cell for cell in cells if _alone(cell)], _examples, lambda _: "alone")


def single_and_mixed(cells: Sequence[Cell]) -> list[Series]:
    """A benchmark's ability alone, and in mixtures of equal fractions of all; over the examples of that ability."""
    alone = [cell for cell in cells if _alone(cell)]
    mixed = [cell for cell in cells if _mixed(cell) and cell.setting.fraction is not None]
    both = lines([*alone, *mixed], _examples, lambda cell: "alone" if _alone(cell) else _mixture_name(cell, mixed), 1)
    names = grouped((one for one in both if one.origin == "ours"), lambda one: (one.panel, one.model))
    complete = {key for key, of in names.items() if "alone" in {s.name for s in of} and len({s.name for s in of}) > 1}
    kept = [one for one in both if (one.panel, one.model) in complete]
    return kept or ([] if complete or any(one.origin == "ours" for one in both) else both)


def replay(cells: Sequence[Cell]) -> list[Series]:
    """DMT over k, the share of specialized data that its last stage replays; mixed sequential is its zero."""
    replayed = [cell for cell in cells if cell.setting.strategy in (REPLAYED, SEQUENTIAL_MIXED)]
    with_k = {_mixture(cell.setting) for cell in replayed if cell.setting.k is not None}
    kept = [cell for cell in replayed if _mixture(cell.setting) in with_k]
    several = len({mixture[1:] for mixture in with_k}) > 1
    return lines(kept, _k, lambda cell: _fractions(cell.setting) if several else "DMT")


def ratios(cells: Sequence[Cell]) -> list[Series]:
    """Mixtures in which one ability (the paper's: general) has another fraction than the rest, over the two's ratio.

    A line holds the one fixed while the other varies.
    """
    mixed = [cell for cell in cells if _mixed(cell)]
    odd = _odd_ability(mixed)
    pairs = {cell: pair for cell in mixed if odd and (pair := _odd_and_rest(cell.setting, odd))}
    made: list[Series] = []
    for fixed, label in ((1, f"{odd} varies, others {{}}"), (0, f"{odd} {{}}, others vary")):
        lengths = _lengths(pairs, fixed)
        least = max(3, min(4, max(lengths.values(), default=0)))  # three make a line only where there is no longer one
        kept = [cell for cell in pairs if lengths[cell] >= least]
        names = {cell: label.format(pairs[cell][fixed]) for cell in kept}
        made += lines(kept, lambda cell: float(pairs[cell][0] / pairs[cell][1]), names.__getitem__)
    return made


def ablation(cells: Sequence[Cell]) -> list[Series]:
    """Mixtures that differ in the source of an ability (the paper's: with code and math in it, and without)."""
    mixed = [cell for cell in cells if _mixed(cell) and cell.setting.fraction is not None]
    by_abilities = grouped(mixed, lambda cell: (cell.setting.model, cell.setting.abilities))
    several = [of for of in by_abilities.values() if len({sources(cell.setting) for cell in of}) > 1]
    made: list[Series] = []
    for of in several:
        shared = set.intersection(*(set(sources(cell.setting)) for cell in of))
        names = {cell: " + ".join(name for name in sources(cell.setting) if name not in shared) for cell in of}
        made += lines(of, _fraction, names.__getitem__, 1)
    return made


def base(cells: Sequence[Cell]) -> dict[tuple[Panel, str], Cell]:
    """The base model's own score, by panel and model."""
    of_panel = panels(cells)
    return {(of_panel[c], c.setting.model): c for c in cells if c.setting.arm == "base" and c.first.origin == "ours"}


def _alone(cell: Cell) -> bool:
    return cell.setting.arm == "alone" and cell.first.ability in cell.setting.abilities


def _mixed(cell: Cell) -> bool:
    return cell.setting.arm == MIXED and len(cell.setting.abilities) > 1


def _examples(cell: Cell) -> float | None:
    return float(cell.setting.examples_of(cell.first.ability)) or None


def _fraction(cell: Cell) -> float | None:
    return None if cell.setting.fraction is None else float(cell.setting.fraction)


def _k(cell: Cell) -> float:
    return float(cell.setting.k or 0)


def _mixture(setting: Setting) -> tuple[object, ...]:
    return (setting.model, *sorted((part.source, part.fraction) for part in setting.parts))


def sources(setting: Setting) -> tuple[str, ...]:
    """The names of a run's sources, in one order."""
    return tuple(sorted(part.source for part in setting.parts))


def _mixture_name(cell: Cell, mixed: Sequence[Cell]) -> str:
    """`mixed`, with the sources that other mixtures do not have."""
    shared = set.intersection(*(set(sources(other.setting)) for other in mixed))
    own = [source for source in sources(cell.setting) if source not in shared]
    return ", ".join(["mixed", *own])


def _fractions(setting: Setting) -> str:
    shared = setting.fraction
    return f"DMT, all {shared}" if shared else " ".join(f"{part.source} {part.fraction}" for part in setting.parts)


def _odd_ability(mixed: Sequence[Cell]) -> str | None:
    """The ability that most mixtures have another fraction of than of all the others, which share one."""
    counts = Counter(odd for cell in mixed for odd in _odd_ones(cell.setting))
    return counts.most_common(1)[0][0] if counts else None


def _odd_ones(setting: Setting) -> Iterator[str]:
    for ability in setting.abilities:
        pair = _odd_and_rest(setting, ability)
        if pair and pair[0] != pair[1]:
            yield ability


def _odd_and_rest(setting: Setting, ability: str) -> tuple[Fraction, Fraction] | None:
    rest = {part.fraction for part in setting.parts if part.ability != ability}
    own = setting.fraction_of(ability)
    return (own, rest.pop()) if own is not None and len(rest) == 1 else None


def _lengths(pairs: dict[Cell, tuple[Fraction, Fraction]], fixed: int) -> dict[Cell, int]:
    """How many values of the other go with the one that is fixed, of the same model, recipe and sources."""
    lines = grouped(pairs.items(), lambda one: (one[1][fixed], _kin(one[0])))
    return {cell: len({pair for _, pair in of}) for of in lines.values() for cell, _ in of}


def _kin(cell: Cell) -> tuple[object, ...]:
    return cell.setting.model, cell.setting.variant, cell.first.origin, sources(cell.setting)
