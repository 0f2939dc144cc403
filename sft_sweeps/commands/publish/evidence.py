"""What is known of a model that is published: that it is whole, its scores, and which differ from the base model's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sft_sweeps.analysis.cells import Compared, as_family, cells, compared
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.commands.publish.chosen import Chosen
from sft_sweeps.commands.show.facts import shortest
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.models import folder as model_folder
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.report.observe import observations, protocol_of
from sft_sweeps.report.scores import Scores
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import damaged_files, merges_again
from sft_sweeps.store.survey import survey
from sft_sweeps.terminal import LAUNCH


@dataclass(frozen=True)
class ScoreLine:
    """A score; `against` is its difference to the base model's, None where that has none on the same items."""

    score: Score
    scored: Scored
    observed: Observation
    finished: str
    against: Compared | None = None

    @property
    def total(self) -> int:
        """How many items its benchmark has."""
        return max(self.scored.total, self.score.generation.benchmark.total, self.scored.n)


def model_files(chosen: Chosen) -> Mapping[str, str]:
    """The checksums of a finished model's files, by name; RequestError where it is not finished, gone or damaged."""
    stage = chosen.stage
    surveyed = survey(chosen.sweeps[0].plan([stage.id]), chosen.store)
    state, name = surveyed.states[stage.id], f"{chosen.label} ({stage.id})"
    folder = chosen.store.read_folder(stage)
    if state.state != "done":
        why = f": {state.why}" if state.why else ""
        raise RequestError(f"{name} cannot be published, it is {state.state}{why}; launch it again: {again(chosen)}")
    record, kind = surveyed.records[stage.id], ADAPTER if merges_again(stage) else "model"
    if damaged := damaged_files(folder, record, f"{kind}/"):
        raise RequestError(
            f"{name} cannot be published: {folder / damaged[0]} is not what was written; remove {folder} and launch "
            f"again: {again(chosen)}"
        )
    try:
        if not merges_again(stage):
            model_folder.loadable(folder / kind)
    except (RunError, OSError) as error:
        raise RequestError(f"{name} cannot be published: {error}") from None
    files = dict.fromkeys(record["files"], "") | dict(record.get("checksums", {}))
    return {name.partition("/")[2]: checksum for name, checksum in files.items() if name.startswith(f"{kind}/")}


def again(chosen: Chosen) -> str:
    """What makes the model again, here."""
    run = run_of(chosen.plan, chosen.stage)
    return f"{LAUNCH} {run.points[0]}" if run.points else LAUNCH


def run_of(plan: Plan, stage: Stage) -> Run:
    """The run of a plan that a stage is shown as."""
    return shortest(plan, stage.id) or plan.runs_through(stage)[0]


def stage_folder(chosen: Chosen, number: int) -> Path:
    """Where a stage of its chain lies, counted from 0."""
    return chosen.store.read_folder(chosen.stage.chain[number])


def score_lines(chosen: Chosen) -> tuple[list[ScoreLine], list[str]]:
    """Its scores in all sweeps that have it, compared with the base model's as one family; and what is not scored."""
    found: dict[str, ScoreLine] = {}
    lacking: dict[str, str] = {}
    for sweep in chosen.sweeps:
        for score, line in _lines(sweep.plan(), chosen, Scores(sweep.store(chosen.store.root))):
            if line and (score.id not in found or not found[score.id].against):
                found[score.id] = line
            elif line is None:
                lacking.setdefault(score.id, score.generation.benchmark.name)
    missing = [name for key, name in lacking.items() if key not in found]
    return _as_family(list(found.values())), list(dict.fromkeys(missing))


def _lines(plan: Plan, chosen: Chosen, scores: Scores) -> Iterator[tuple[Score, ScoreLine | None]]:
    """Each score that a sweep asks of it; None where it is not there."""
    stage = chosen.stage
    asked = tuple(s for s in plan.scores if s.generation.subject.id in (stage.id, stage.model.id))
    observed = observations(replace(plan, runs=(run_of(plan, stage),), scores=asked), scores)
    by_key = {(one.subject, one.benchmark, one.protocol): one for one in observed}
    for score in asked:
        if score.generation.subject.id != stage.id:
            continue
        key = (score.generation.benchmark.name, protocol_of(score))
        ours, base, record = by_key.get((stage.id, *key)), by_key.get((stage.model.id, *key)), scores.record(score)
        if ours is None or record is None:
            yield score, None
        else:
            against = compared(cells([ours])[0], cells([base])[0]) if base else None
            finished = str(record.get("finished", ""))
            yield score, ScoreLine(score, Scored.from_record(record, score.id), ours, finished, against)


def _as_family(lines: Sequence[ScoreLine]) -> list[ScoreLine]:
    with_base = [line for line in lines if line.against]
    adjusted = as_family([line.against for line in with_base if line.against])
    of = {line.score.id: one for line, one in zip(with_base, adjusted, strict=True)}
    return [replace(line, against=of.get(line.score.id)) for line in lines]
