"""What a plan still lacks: the jobs that are missing now, how each would run, and what judging them will cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sft_sweeps.benchmarks.judging import cannot_ask
from sft_sweeps.config.schema import Config
from sft_sweeps.execution import Executions
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.launch import sources
from sft_sweeps.launch.packed import packed
from sft_sweeps.launch.settings import executions_of, with_recompute
from sft_sweeps.plan.build import Plan
from sft_sweeps.score.judge_cost import Bill, estimate, with_budget
from sft_sweeps.spec.evaluation import Representations, Score
from sft_sweeps.store.seen import Seen
from sft_sweeps.store.store import Store, lost_files
from sft_sweeps.store.survey import Survey, survey
from sft_sweeps.store.sweeps import launched


@dataclass(frozen=True)
class MissingWork:
    """What the store knows of a plan, the jobs that are missing (parents first), and the bill of judging them."""

    survey: Survey
    jobs: Sequence[Job]
    config: Config
    bill: Bill

    @property
    def plan(self) -> Plan:
        return self.survey.plan

    @property
    def store(self) -> Store:
        return self.survey.store


def missing_work(plan: Plan, config: Config) -> MissingWork:
    """What is missing of a plan now, as the store has it."""
    surveyed = looked_up(plan, config)
    bill = estimate(surveyed)
    jobs = missing_jobs(surveyed, config)
    if into := packed(jobs, surveyed, config):
        jobs = into.applied(jobs)
    jobs = [with_recompute(job, config) for job in jobs]
    return MissingWork(surveyed, [with_budget(job, bill) for job in jobs], config, bill)


def looked_up(plan: Plan, config: Config) -> Survey:
    """What the store knows of a plan: every file is looked at, but where an earlier look found all of it finished.

    Then it is enough that it still is, and that the files of the scores are there: nothing will be made of the models.
    """
    store = Store(config.output_dir, config.store.read_from)
    sweep = next(iter(launched(plan, store)), None)
    seen = Seen(sweep.folder if sweep else None)
    if all(subject.id in seen for subject in plan.derived):
        quick = survey(plan, store, thorough=False, seen=seen)
        if not missing(quick, Executions()) and not any(_lost_files(quick)):
            return quick
    return survey(plan, store)


def _lost_files(found: Survey) -> Iterator[str]:
    """Files of scores and analyses that are not there, or not whole."""
    items: list[Score | Representations] = [*found.plan.scores, *found.plan.analyses]
    for item in items:
        if record := found.records.get(item.id):
            yield from lost_files(found.store.write_folder(item), record)


def missing_jobs(surveyed: Survey, config: Config) -> list[Job]:
    """The missing jobs, parents first, with the one that encodes their sources before all that need it.

    Judging that nobody can be asked for is left open: `sft-sweeps judge` does it afterwards, wherever there is a key.
    """
    jobs = [job for job in missing(surveyed, executions_of(config)) if not _left_open(job)]
    return sources.with_encoding_first(jobs, surveyed.store)


def _left_open(job: Job) -> bool:
    judges = {g.benchmark.judge for g in job.generations if g.benchmark.judge} if job.kind == "judge" else set()
    return any(map(cannot_ask, judges))
