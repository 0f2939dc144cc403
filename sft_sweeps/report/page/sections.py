"""The page's charts, in the order in which a reader needs them: the finding's first, then scores, then curves."""

from collections.abc import Iterator, Sequence

from sft_sweeps.analysis import series
from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.analysis.observations import grouped
from sft_sweeps.analysis.series import Panel, Series
from sft_sweeps.report.page import charts, text
from sft_sweeps.report.page.charts import Chart, Heading
from sft_sweeps.report.page.findings import Findings

FEW = 12  # rows of the finding's chart, where no claim chooses them
INTERVALS = "Bars are 95 % intervals; of several training seeds over seeds and items together."


def finding(found: Findings) -> Iterator[Chart]:
    """The claims' pairs, or the largest differences; one chart for each unit."""
    named = [pair for claim in found.claims for pair in claim.pairs]
    pairs = named or _largest(found.exploratory)
    for number, of in enumerate(_by_unit(pairs).values()):
        what = "What the study claims in advance" if named else "The largest differences to the reference"
        about = f"Each is paired by item; left of the line is less. {INTERVALS}"
        yield charts.differences(of, Heading(f"finding-{number}", what, about))


def exploratory(found: Findings) -> Iterator[Chart]:
    """All comparisons with the references, a chart a benchmark."""
    for number, (name, of) in enumerate(charts.by_benchmark(found.exploratory).items()):
        about = f"Each run minus the reference of its model. {INTERVALS}"
        yield charts.differences(of, Heading(f"exploratory-{number}", name, about))


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


def curves(cells: Sequence[Cell]) -> Iterator[Chart]:
    """What a study's axes allow to draw; `cells` are ours and the paper's."""
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
            yield charts.lines(of, axis, Heading(f"{key}-{number}", title, f"{INTERVALS}{hollow}"), log)


def _is_curve(lines: Sequence[Series]) -> bool:
    """Whether any of ours has more than one place on the axis."""
    return any(len({at for at, _ in one.points}) > 1 for one in _ours(lines))


def _ours(lines: Sequence[Series]) -> list[Series]:
    return [one for one in lines if one.origin == "ours"]
