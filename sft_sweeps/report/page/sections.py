"""The page's charts, in the order in which a reader needs them: the finding's first, then scores, then curves."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.series import Panel, Series
from sft_sweeps.report import places
from sft_sweeps.report.figures.charts import Line, Predicted
from sft_sweeps.report.page import charts, looks, text
from sft_sweeps.report.page.chart import Chart, Heading
from sft_sweeps.report.page.charts import Across
from sft_sweeps.report.page.findings import Claim, Findings, on_its_own_ability
from sft_sweeps.report.page.long import MANY, Table

FEW = 12  # rows of the finding's chart, where no claim chooses them


@dataclass(frozen=True)
class Kind:
    """Curves of one kind: their lines, what is said of them after the benchmark's name, the axis."""

    key: str
    made: Callable[[Sequence[Cell]], Sequence[Series]]
    about: str
    across: Across


AMOUNT = Across("examples of the ability (log scale)", places.count)
KINDS = (
    Kind("scaling", series.single_and_mixed, "alone and in mixtures, over the amount of data", AMOUNT),
    Kind("alone", series.scaling, "trained alone, over the amount of data", AMOUNT),
    Kind(
        "replay",
        series.replay,
        "DMT over k",
        Across("k, the share of specialized data replayed (log scale; 0: mixed sequential)", places.fraction),
    ),
    Kind(
        "ratio",
        series.ratios,
        "mixtures over the ratio of {odd} data to the others",
        Across("ratio of fractions, {odd} : others", places.fraction),
    ),
    Kind(
        "ablation",
        series.ablation,
        "the same mixtures with another source",
        Across("fraction of each source (log scale)", places.fraction),
    ),
)


def intervals(cells: Iterable[Cell]) -> str:
    """What the bars of a chart are."""
    several = any(len(cell.seeds) > 1 for cell in cells)
    return "Bars: 95 % intervals" + (" over training seeds and items together." if several else " over items.")


def finding(found: Findings) -> Iterator[Chart]:
    """The claims' pairs, or the largest differences; one chart for each unit."""
    named = [pair for claim in found.claims for pair in claim.pairs]
    pairs = named or _largest(found.exploratory)
    names = dict(zip(map(id, named), _claimed(found), strict=True))
    for number, of in enumerate(_by_unit(pairs).values()):
        what = "What the study claims in advance" if named else "The largest differences to the reference"
        across = "right of 0 is as claimed" if named and _all_gains(of) else "left of 0 is less"
        heading = Heading(f"finding-{number}", what, f"Paired by item. {intervals(_both(of))}")
        yield charts.differences(of, heading, [names[id(pair)] for pair in of] if named else (), across)


def _both(pairs: Sequence[Compared]) -> Iterator[Cell]:
    for pair in pairs:
        yield from (pair.ours, pair.theirs)


def _all_gains(pairs: Sequence[Compared]) -> bool:
    return all(pair.ours.first.higher_is_better for pair in pairs)


def _claimed(found: Findings) -> list[charts.Named]:
    """What the row of each claim's pairs is called, and what tells a pair from the claim's others."""
    named = [name for claim in found.claims for name in _named(claim)]
    if len({part for _, part in named}) <= len(looks.SHAPES):
        return named
    return [(f"{claim}: {part}" if part else claim, "") for claim, part in named]


def _named(claim: Claim) -> list[charts.Named]:
    """A claim's row has a mark for each model; where it has several pairs of one, each has a row."""
    statement, models = claim.hypothesis.claim, [pair.ours.setting.model for pair in claim.pairs]
    if len(set(models)) == len(models):
        return [(statement, model) for model in models]
    words = apart([pair.ours.label for pair in claim.pairs])
    rows = [" ".join(word for word in of.split() if word not in models).strip("()") for of in words]
    return [(f"{statement} ({row})", model) for row, model in zip(rows, models, strict=True)]


def apart(labels: Sequence[str]) -> list[str]:
    """Of each label the words that not all have, of a single one its first; numbers, where these are alike."""
    if len(labels) == 1:
        return [labels[0].split()[0]]
    words = [label.split() for label in labels]
    shared = set.intersection(*map(set, words)) if words else set()
    own = [" ".join(word for word in of if word not in shared) for of in words]
    return own if len(set(own)) == len(own) else [f"pair {number}" for number in range(1, len(own) + 1)]


def exploratory(found: Findings) -> Iterator[tuple[Chart, Table | None]]:
    """Comparisons with the references, a chart a benchmark: of many, those beyond noise, and a table of all."""
    for number, (name, of) in enumerate(charts.by_benchmark(found.exploratory).items()):
        kept = of if len(of) <= MANY else _telling(of)
        left = f"{len(kept)} of {len(of)} comparisons, the largest beyond noise." if len(kept) < len(of) else ""
        about = f"Each run minus the reference of its model. {intervals(_both(kept))} {left}".strip()
        table = Table(f"Comparisons on {name}", *charts.difference_table(of)) if left else None
        names = [(pair.ours.label, "") for pair in kept]
        yield charts.differences(kept, Heading(f"exploratory-{number}", name, about), names, "left of 0 is less"), table


def _telling(pairs: Sequence[Compared]) -> list[Compared]:
    """Some, the surest and largest, in their order."""
    ranked = sorted(pairs, key=lambda pair: (not pair.sure, -abs(pair.difference.value)))
    kept = set(map(id, ranked[:MANY]))
    return [pair for pair in pairs if id(pair) in kept]


def _largest(pairs: Sequence[Compared]) -> list[Compared]:
    """Of each benchmark some, the surest first."""
    on_their_own = [pair for pair in pairs if on_its_own_ability(pair)] or list(pairs)
    return sorted(on_their_own, key=lambda pair: (not pair.sure, -abs(pair.difference.value)))[:FEW]


def _by_unit(pairs: Sequence[Compared]) -> dict[str, list[Compared]]:
    return grouped(pairs, lambda pair: "share" if pair.ours.first.share else pair.ours.first.metric)


def scores(cells: Sequence[Cell], paper: Sequence[tuple[Cell, Cell]]) -> Iterator[Chart]:
    """A chart for each benchmark under one protocol."""
    panels = series.panels(cells)
    for number, (panel, of) in enumerate(grouped(cells, panels.__getitem__).items()):
        theirs = [(ours, their) for ours, their in paper if panels[ours] == panel]
        hollow = " Hollow circles are the paper's values, with their flags." if theirs else ""
        seeds = " Ticks are single training seeds." if any(len(cell.seeds) > 1 for cell in of) else ""
        about = f"{intervals(of)}{seeds}{hollow} A point leads to its run."
        yield charts.scores(of, theirs, Heading(f"scores-{number}", text.title(panel.title), about))


def curves(cells: Sequence[Cell], dashed: Mapping[Line, Predicted]) -> Iterator[Chart]:
    """What a study's axes allow to draw; `cells` are ours and the paper's, `dashed` what is predicted beyond."""
    drawn: set[Panel] = set()
    for kind in KINDS:
        for number, (panel, of) in enumerate(grouped(kind.made(cells), lambda one: one.panel).items()):
            if not _is_curve(of) or (kind.key == "alone" and panel in drawn):
                continue
            drawn |= {panel} if kind.key == "scaling" else set()
            odd = of[0].name.split()[0]  # the ability whose ratio to the others varies
            heading = Heading(
                f"{kind.key}-{number}",
                f"{text.title(panel.title)}: {kind.about.format(odd=odd)}",
                _said_of(of, dashed),
            )
            across = replace(kind.across, title=kind.across.title.format(odd=odd))
            yield charts.lines(of, across, heading, dashed)


def _said_of(lines: Sequence[Series], dashed: Mapping[Line, Predicted]) -> str:
    """How to read a chart of lines."""
    said = [intervals(cell for one in lines for _, cell in one.points)]
    said += ["Hollow: the paper's values."] if len(_ours(lines)) < len(lines) else []
    said += ["Dotted: predicted, with its interval."] if _any_of(lines, dashed) else []
    return " ".join(said)


def _any_of(lines: Sequence[Series], dashed: Mapping[Line, Predicted]) -> bool:
    return any((one.panel, one.model, one.name) in dashed for one in _ours(lines))


def _is_curve(lines: Sequence[Series]) -> bool:
    """Whether any of ours has more than one place on the axis."""
    return any(len({at for at, _ in one.points}) > 1 for one in _ours(lines))


def _ours(lines: Sequence[Series]) -> list[Series]:
    return [one for one in lines if one.origin == "ours"]
