"""The page's charts, in the order in which a reader needs them: the finding's first, then scores, then curves."""

from collections.abc import Iterator, Mapping, Sequence

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.series import Panel, Series
from sft_sweeps.report.figures.charts import Line, Predicted
from sft_sweeps.report.page import charts, looks, text
from sft_sweeps.report.page.charts import Chart, Heading
from sft_sweeps.report.page.findings import Findings
from sft_sweeps.report.page.long import MANY, Table

FEW = 12  # rows of the finding's chart, where no claim chooses them
INTERVALS = "Bars are 95 % intervals; of several training seeds over seeds and items together."


def finding(found: Findings) -> Iterator[Chart]:
    """The claims' pairs, or the largest differences; one chart for each unit."""
    named = [pair for claim in found.claims for pair in claim.pairs]
    pairs = named or _largest(found.exploratory)
    names = dict(zip(map(id, named), _claimed(found), strict=True))
    for number, of in enumerate(_by_unit(pairs).values()):
        what = "What the study claims in advance" if named else "The largest differences to the reference"
        less = "right of the line is as claimed" if named and _all_gains(of) else "left of the line is less"
        about = f"Each is paired by item; {less}. {INTERVALS}"
        heading = Heading(f"finding-{number}", what, about)
        yield charts.differences(of, heading, [names[id(pair)] for pair in of] if named else ())


def _all_gains(pairs: Sequence[Compared]) -> bool:
    return all(pair.ours.first.higher_is_better for pair in pairs)


def _claimed(found: Findings) -> list[charts.Named]:
    """What the row of each claim's pairs is called, and what tells a pair from the claim's others."""
    named = [
        (claim.hypothesis.claim, part)
        for claim in found.claims
        for part in apart([pair.ours.label for pair in claim.pairs])
    ]
    if len({part for _, part in named}) <= len(looks.SHAPES):
        return named
    return [(f"{claim}: {part}" if part else claim, "") for claim, part in named]


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
        about = f"Each run minus the reference of its model. {INTERVALS} {left}".strip()
        table = Table(f"Comparisons on {name}", *charts.difference_table(of)) if left else None
        names = [(pair.ours.label, "") for pair in kept]
        yield charts.differences(kept, Heading(f"exploratory-{number}", name, about), names), table


def _telling(pairs: Sequence[Compared]) -> list[Compared]:
    """Some, the surest and largest, in their order."""
    ranked = sorted(pairs, key=lambda pair: (not pair.sure, -abs(pair.difference.value)))
    kept = set(map(id, ranked[:MANY]))
    return [pair for pair in pairs if id(pair) in kept]


def _largest(pairs: Sequence[Compared]) -> list[Compared]:
    """Of each benchmark some, the surest first."""
    on_their_own = [pair for pair in pairs if _asked_of_both(pair)] or list(pairs)
    return sorted(on_their_own, key=lambda pair: (not pair.sure, -abs(pair.difference.value)))[:FEW]


def _asked_of_both(pair: Compared) -> bool:
    return all(cell.first.ability in cell.setting.abilities for cell in (pair.ours, pair.theirs))


def _by_unit(pairs: Sequence[Compared]) -> dict[str, list[Compared]]:
    return grouped(pairs, lambda pair: "share" if pair.ours.first.share else pair.ours.first.metric)


def scores(cells: Sequence[Cell], paper: Sequence[tuple[Cell, Cell]]) -> Iterator[Chart]:
    """A chart for each benchmark under one protocol."""
    panels = series.panels(cells)
    for number, (panel, of) in enumerate(grouped(cells, panels.__getitem__).items()):
        theirs = [(ours, their) for ours, their in paper if panels[ours] == panel]
        hollow = " Hollow circles are the paper's values, with their flags." if theirs else ""
        seeds = " Ticks are single training seeds." if any(len(cell.seeds) > 1 for cell in of) else ""
        about = f"{INTERVALS}{seeds}{hollow} A point leads to its run."
        yield charts.scores(of, theirs, Heading(f"scores-{number}", text.title(panel.title), about))


def curves(cells: Sequence[Cell], dashed: Mapping[Line, Predicted]) -> Iterator[Chart]:
    """What a study's axes allow to draw; `cells` are ours and the paper's, `dashed` what is predicted beyond."""
    kinds = (
        ("scaling", series.single_and_mixed, "examples of the benchmark's ability", "alone and in mixtures", True),
        ("alone", series.scaling, "examples of the benchmark's ability", "over the amount of data", True),
        ("replay", series.replay, "k, the share of specialized data replayed", "over k; 0 is mixed sequential", False),
        ("ratio", series.ratios, "ratio of the two fractions", "over the ratio of general to specialized data", True),
        ("ablation", series.ablation, "fraction of the data", "with and without code and math in general data", True),
    )
    drawn: set[Panel] = set()
    for key, made, axis, about, log in kinds:
        for number, (panel, of) in enumerate(grouped(made(cells), lambda one: one.panel).items()):
            if not _is_curve(of) or (key == "alone" and panel in drawn):
                continue
            drawn |= {panel} if key == "scaling" else set()
            title = f"{text.title(panel.title)}: {about}"
            hollow = " Hollow points are the paper's." if len(_ours(of)) < len(of) else ""
            beyond = " Dotted is what is predicted, with its interval." if _any_of(of, dashed) else ""
            yield charts.lines(of, axis, Heading(f"{key}-{number}", title, f"{INTERVALS}{hollow}{beyond}"), log, dashed)


def _any_of(lines: Sequence[Series], dashed: Mapping[Line, Predicted]) -> bool:
    return any((one.panel, one.model, one.name) in dashed for one in _ours(lines))


def _is_curve(lines: Sequence[Series]) -> bool:
    """Whether any of ours has more than one place on the axis."""
    return any(len({at for at, _ in one.points}) > 1 for one in _ours(lines))


def _ours(lines: Sequence[Series]) -> list[Series]:
    return [one for one in lines if one.origin == "ours"]
