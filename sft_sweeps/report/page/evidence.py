"""What the page knows of one sweep: its plan, how everything in it stands, its scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sft_sweeps.analysis.cells import Cell, Compared, finals
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.plan.build import Plan
from sft_sweeps.report.collect import Results, collect
from sft_sweeps.report.differences import against_reference
from sft_sweeps.report.observe import observations
from sft_sweeps.report.scores import Scores
from sft_sweeps.store.seen import Seen
from sft_sweeps.store.survey import Survey, survey
from sft_sweeps.store.sweeps import Sweep, points


@dataclass(frozen=True)
class Evidence:
    """One sweep. `name` is short, and no other sweep's on the page."""

    name: str
    plan: Plan
    survey: Survey
    scores: Scores
    results: Results
    points: tuple[str, ...] = ()

    @cached_property
    def observations(self) -> list[Observation]:
        return list(self.results.observed) or observations(self.plan, self.scores)

    @cached_property
    def cells(self) -> list[Cell]:
        """Of what its runs end with."""
        return finals(self.observations)

    @cached_property
    def compared(self) -> list[Compared]:
        """These against the references of their models."""
        return against_reference(self.plan, self.cells)


def read(sweep: Sweep, root: Path | str, name: str = "") -> Evidence:
    """All of a sweep's; RequestError where its plan cannot be read."""
    surveyed = survey(sweep.plan(), sweep.store(root), thorough=False, seen=Seen(sweep.folder))
    surveyed.seen.save()
    return read_more(sweep, surveyed, name)


def read_more(sweep: Sweep, surveyed: Survey, name: str = "") -> Evidence:
    """What a survey of it leaves unread: its scores, and what they say."""
    scores = Scores(surveyed.store, surveyed)
    return of(sweep, surveyed, scores, collect(surveyed.plan, scores, sweep.name, sweep.question), name)


def of(sweep: Sweep, surveyed: Survey, scores: Scores, results: Results, name: str = "") -> Evidence:
    """From what was read of a sweep before."""
    return Evidence(name or sweep.short_name, surveyed.plan, surveyed, scores, results, points(sweep.folder))


def names(sweeps: Sequence[Sweep]) -> list[str]:
    """A name for each: the short one, the folder's where two share it."""
    short = [sweep.short_name for sweep in sweeps]
    return [one if short.count(one) == 1 else sweep.name for one, sweep in zip(short, sweeps, strict=True)]
