"""A sweep as a tracker shows it: a run for each base model that is made, each stage, each model's answers, each row of
the table with its scores, and one with the report's tables. All of it is in the store, so it can be shown at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sft_sweeps.analysis.observations import grouped
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Tracking
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Run, Subject
from sft_sweeps.report import board
from sft_sweeps.report.measures import differences_table, measures, samples, scores_table
from sft_sweeps.report.page import costs, findings
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store import lineage
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.tracking import layout, none, problems, remembered, trackers
from sft_sweeps.tracking.base import Alert, Attempt
from sft_sweeps.tracking.dashboard import charts

RATES = ("seconds", "save_seconds", "tokens_per_second", "mfu")  # of a record, in numbers


def named(sweep: Sweep, tracker: str = "", project: str = "", entity: str = "") -> Tracking:
    """Where a sweep is shown: as launched, but for what is named; RequestError where that is nowhere."""
    launched = remembered.remembered(sweep.folder) or Tracking()
    name = tracker or launched.name
    if name == none.NAME:
        how = "--tracker none shows nothing" if tracker else f"sweep {sweep.name} was launched with tracking=none"
        raise RequestError(f"{how}; name a tracker: --tracker wandb")
    project = layout.project(project or launched.project, sweep.short_name)
    made = replace(launched, name=name, project=project, entity=entity or launched.entity, mode="online")
    for problem in trackers.TRACKERS.get(name).problems(made):
        raise RequestError(problem.replace("tracking.project=", "--project "))
    return made


@dataclass(frozen=True)
class Shown:
    """The runs of one sweep at a tracker, each made when it is asked for; `now`: they are to be there at once."""

    sweep: Evidence
    folder: Path
    tracking: Tracking
    now: bool = True

    def all(self) -> list[Attempt]:
        """Everything that is finished, in the order in which it was made."""
        return [*self.trained(), *self.evaluated()]

    def trained(self) -> list[Attempt]:
        """Base models that were made, and stages, parents first."""
        done = [one for one in self.sweep.plan.subjects if one.made and self._record(one)]
        return [self._trained(one) if isinstance(one, Stage) else self._prepared(one) for one in done]

    def cut_off(self) -> list[Attempt]:
        """Finished stages of which a tracker has not all, as was written down when they ended."""
        return [one for one in self.trained() if one.follows and problems.problem_of(one.folder)]

    def finished(self) -> list[Attempt]:
        """What a sweep that is done has to show besides what was shown while it was trained."""
        return [*self.cut_off(), *self.evaluated()]

    def evaluated(self, only: str = "") -> list[Attempt]:
        """Answers, scores of every row of the table, and the report; `only`: answers and scores of one model."""
        rows = [row.run for row in self.sweep.results.rows if row.scores and only in ("", row.run.id)]
        asked = dict.fromkeys(score.generation.subject for score in self.sweep.plan.scores)
        found = [self._answered(one) for one in asked if only in ("", one.id) and self._done(one)]
        found += [self._scored(run) for run in rows]
        return found if only else [*found, self._reported()]

    @property
    def _store(self) -> Store:
        return self.sweep.scores.store

    @cached_property
    def _scores(self) -> dict[str, list[Score]]:
        """What is scored, by model."""
        done = [score for score in self.sweep.plan.scores if self.sweep.scores.record(score)]
        return grouped(done, lambda score: score.generation.subject.id)

    def _record(self, subject: Subject) -> Mapping[str, Any]:
        """What a finished model's says; empty where it is not finished."""
        states, records = self.sweep.survey.states, self.sweep.survey.records
        return records.get(subject.id, {}) if states[subject.id].trained else {}

    def _done(self, subject: Subject) -> list[Score]:
        """The scores of a model that are there."""
        return self._scores.get(subject.id, [])

    def _through(self, subject: Subject) -> list[Run]:
        """The runs that pass through a model."""
        if isinstance(subject, Stage | Merge):
            return self.sweep.plan.runs_through(subject)
        return [row.run for row in self.sweep.results.rows if row.run.model.id == subject.id]

    def _attempt(
        self, kind: layout.JobType, identity: str, label: str, runs: Sequence[Run], stages: Sequence[Stage]
    ) -> Attempt:
        """A run with its names: what it is for, and where the stages that it passed through stand."""
        ours = {run.id for run in runs}
        reference = kind == "score" and any(ours & set(pair.theirs.runs) for pair in self.sweep.compared)
        tags = layout.tags("", (*self.tracking.tags, *(run.label for run in runs)), layout.REFERENCE * reference)
        axes = self._axes(runs, stages)
        tracking = replace(self.tracking, group=self.sweep.results.sweep, tags=tags, axes=tuple(axes.items()))
        key = layout.run_id(kind, identity, self.sweep.results.sweep)
        return Attempt(self.folder, tracking, key, label, {}, job_type=kind, now=self.now)

    def _axes(self, runs: Sequence[Run], stages: Sequence[Stage]) -> dict[str, str | int]:
        """All of them in every run; a report's say nothing."""
        model = runs[0].model if runs else self.sweep.plan.models[0]
        found = layout.study_axes(
            model,
            cost.parameters(model.shape),
            strategies=[run.strategy if run.stages else "base" for run in runs],
            shares=[run.k for run in runs],
            stages=stages,
            abilities=self.sweep.plan.abilities,
        )
        return found if runs else {name: layout.NONE if isinstance(of, str) else 0 for name, of in found.items()}

    def _hours(self, stages: Sequence[Stage]) -> dict[str, float]:
        taken, planned = (
            sum(costs.gpu_hours(one, self._record(one)) for one in stages),
            sum(map(cost.gpu_hours, stages)),
        )
        return {layout.GPU_HOURS: round(taken, 4), layout.GPU_HOURS_PLANNED: round(planned, 4)}

    def _prepared(self, of: Model | Merge) -> Attempt:
        """A model that is made without training on a source."""
        attempt = self._attempt("prepare", of.id, self.sweep.plan.labels[of.id], self._through(of), of.chain)
        uses, makes = lineage.used(of, self._store), (lineage.model(of, self._store),)
        return replace(attempt, summary=_rates(self._record(of)), uses=uses, makes=makes)

    def _trained(self, stage: Stage) -> Attempt:
        """Where a stage lies in this store it is shown from its own folder, as while it was trained."""
        folder, label = self._store.read_folder(stage), self.sweep.plan.labels[stage.id]
        own = folder.parent.parent == self._store.root
        return replace(
            self._attempt("train", stage.id, label, self._through(stage), (stage,)),
            folder=folder if own else self.folder,
            lines=folder,
            config=lineage.training(stage),
            summary=_rates(self._record(stage)) | self._hours([stage]),
            uses=lineage.used(stage, self._store),
            makes=lineage.made(stage, self._store),
        )

    def _answered(self, subject: Subject) -> Attempt:
        label, done = self.sweep.plan.labels[subject.id], [score.generation for score in self._done(subject)]
        return replace(
            self._attempt("generate", subject.id, f"{label}: answers", self._through(subject), subject.chain),
            summary={layout.metric(one.benchmark.name, "items"): one.benchmark.examples for one in done},
            uses=(lineage.model(subject, self._store),),
            makes=tuple(lineage.answers(one, self._store) for one in done),
        )

    def _scored(self, run: Run) -> Attempt:
        pairs = [pair for pair in self.sweep.compared if run.id in pair.ours.runs]
        subjects: tuple[Subject, ...] = (run.model, *run.derived)
        done = [score for subject in subjects for score in self._done(subject)]
        return replace(
            self._attempt("score", run.id, run.label, [run], run.stages),
            config={"command": run.points[0] if run.points else ""},
            summary=measures(run, self.sweep.observations, pairs) | self._hours(run.stages),
            tables=dict(samples(self._done(run.subject), self.sweep.scores)),
            uses=tuple(lineage.answers(one.generation, self._store) for one in done),
            makes=tuple(lineage.scores(one, self._store) for one in done),
        )

    def _reported(self) -> Attempt:
        results, plan = self.sweep.results, self.sweep.plan
        headline = findings.findings([self.sweep]).headline
        done = sum(map(len, self._scores.values()))
        stages = [stage for stage in plan.stages if self._record(stage)]
        finished = Alert(f"sweep {self.sweep.name} is finished", headline)
        return replace(
            self._attempt("report", results.sweep, f"{self.sweep.name}: what came out", (), ()),
            config={"question": results.question, "headline": headline, "missing": list(results.missing)},
            summary={"runs": len(plan.runs), "stages": len(stages), "scores": done, **self._hours(stages)},
            tables=dict(self._tables()),
            alerts=(finished,) if done and done == len(plan.scores) else (),
        )

    def _tables(self) -> Iterator[tuple[str, Any]]:
        yield layout.SCORES, scores_table(self.sweep.observations)
        yield layout.DIFFERENCES, differences_table(self.sweep.results.comparisons)
        yield charts.TABLE, board.verdict(self.sweep)


def _rates(record: Mapping[str, Any]) -> dict[str, float | int | str]:
    return {name: float(record[name]) for name in RATES if isinstance(record.get(name), int | float)}
