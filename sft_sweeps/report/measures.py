"""What a run of the table scored, as a tracker's summary and tables: layout.MEASURES of each benchmark, and samples."""

from collections.abc import Iterable, Iterator, Sequence

from sft_sweeps.analysis.cells import Compared
from sft_sweeps.analysis.forgetting import backward_transfer
from sft_sweeps.analysis.observations import COLUMNS, Observation, grouped, row
from sft_sweeps.plan.build import Run
from sft_sweeps.report.differences import Comparison
from sft_sweeps.report.page import answers, text
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.tracking import layout
from sft_sweeps.tracking.base import Cell, Table

SAMPLES = 100  # of one benchmark of one run
SAMPLE_COLUMNS = ("item", "right", "verdict", "prompt", "answer")
DIFFERENCE_COLUMNS = ("benchmark", "run", "against", "difference", "low", "high", "n", "p", "adjusted")


def measures(run: Run, observed: Iterable[Observation], pairs: Iterable[Compared]) -> dict[str, float]:
    """Of the observations of a sweep those that are this run's, and its differences to the reference."""
    mine = [one for one in observed if run.id in ((one.run,) if run.stages else (one.run, one.subject))]
    found: dict[str, float] = {}
    for one in mine:
        if one.subject == run.id:
            found |= _named(one, score=one.value, low=one.low, high=one.high)
            found[layout.metric(one.benchmark, "n")] = one.n
    for pair in pairs:
        apart = pair.difference
        found |= _named(pair.ours.first, difference=apart.value, difference_low=apart.low, difference_high=apart.high)
        if pair.adjusted is not None:
            found[layout.metric(pair.ours.first.benchmark, "p")] = pair.adjusted
    for of in grouped(mine, lambda one: (one.benchmark, one.protocol)).values():
        for lost in backward_transfer(of):
            found |= _named(of[0], forgetting=lost.transfer.value)
    return found


def _named(of: Observation, **values: float) -> dict[str, float]:
    return {layout.metric(of.benchmark, name): round(text.scaled(of, value), 4) for name, value in values.items()}


def samples(scores: Iterable[Score], known: Scores) -> Iterator[tuple[str, Table]]:
    """A table of answers of each benchmark that has some, wrong ones first."""
    for score in scores:
        found = answers.sample(score, known, SAMPLES)
        if found and found.answers:
            rows = tuple(_sample(one) for one in found.answers)
            yield layout.samples(score.generation.benchmark.name), Table(SAMPLE_COLUMNS, rows)


def _sample(one: answers.Answer) -> tuple[Cell, ...]:
    prompts, given = ("\n\n".join(turn[part] for turn in one.turns) for part in (0, 1))
    return one.item, one.right, one.verdict, prompts, given


def scores_table(observed: Iterable[Observation]) -> Table:
    """Every score, in its own unit, as results.parquet has them."""
    return Table(COLUMNS, tuple(tuple(row(one)[name] for name in COLUMNS) for one in observed))


def differences_table(comparisons: Sequence[Comparison]) -> Table:
    """Every difference to a reference; shares in percent."""
    return Table(DIFFERENCE_COLUMNS, tuple(map(_difference, comparisons)))


def _difference(one: Comparison) -> tuple[Cell, ...]:
    scale = 100 if one.share else 1
    numbers = (one.difference.value * scale, one.difference.low * scale, one.difference.high * scale)
    return one.benchmark, one.run, one.against, *numbers, one.n, one.p, one.adjusted
