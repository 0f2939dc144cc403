"""What a plan still lacks: the jobs that are missing now, how each would run, and what judging them will cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sft_sweeps.config.schema import Config
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.launch import sources
from sft_sweeps.launch.settings import execution_of, with_recompute
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.score.judge_cost import Bill, estimate, with_budget
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey


@dataclass(frozen=True)
class MissingWork:
    """A plan, the states of everything in it, the jobs that are missing (parents first), the bill of judging them."""

    plan: Plan
    states: Mapping[str, State]
    jobs: Sequence[Job]
    store: Store
    config: Config
    bill: Bill


def missing_work(plan: Plan, config: Config) -> MissingWork:
    """What is missing of a plan now, as the store has it."""
    store = Store(config.output_dir, config.store.read_from)
    states = survey(plan, store)
    bill = estimate(plan, states, store)
    jobs = [with_recompute(job, config) for job in missing_jobs(plan, states, store, config)]
    return MissingWork(plan, states, [with_budget(job, bill) for job in jobs], store, config, bill)


def missing_jobs(plan: Plan, states: Mapping[str, State], store: Store, config: Config) -> list[Job]:
    """The missing jobs, parents first, with the one that encodes their sources before all that need it."""
    read_from = [str(other.root.absolute()) for other in store.others]
    jobs = missing(plan, states, str(store.root.absolute()), execution_of(config), read_from)
    return sources.with_encoding_first(jobs, store)
