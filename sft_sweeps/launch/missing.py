"""What a launch has to do: the jobs that are missing, how they run, and what stands in their way."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sft_sweeps.config.schema import Config
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.launch import preflight, sources
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.local import launcher
from sft_sweeps.launch.settings import executions_of, with_recompute
from sft_sweeps.launch.slurm import preflight as preflight_slurm
from sft_sweeps.launch.slurm import warning
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan
from sft_sweeps.score.judge_cost import Bill, estimate, with_budget
from sft_sweeps.slurm import queue
from sft_sweeps.spec import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, survey

NOTHING_JUDGED = Bill()


@dataclass(frozen=True)
class Launch:
    """What a launch has to do, and how: the missing jobs, and the seconds of warning that each needs to save."""

    survey: Survey
    jobs: Sequence[Job]
    warnings: Mapping[str, int]
    config: Config
    bill: Bill = NOTHING_JUDGED

    @property
    def place(self) -> str:
        """Where it runs: `local` or `slurm`; `auto` is Slurm where `sbatch` is found."""
        name = self.config.cluster.name
        return name if name != "auto" else "slurm" if queue.available() else "local"

    @property
    def width(self) -> int:
        """Processes that run side by side on this machine."""
        cluster = self.config.cluster
        return launcher.slots(cluster.jobs, cluster.processes, cluster.threads)

    def problems(self, unfetched: Mapping[str, str]) -> list[str]:
        """What this machine, and the cluster where it runs on one, cannot do."""
        cluster, retained = self.config.cluster, self.config.store.retention
        if self.place == "local":
            use = DiskPolicy(max(1, self.width // cluster.processes), "cluster.jobs", retained)
        else:
            use = DiskPolicy(cluster.max_running, "cluster.max_running", retained)
        found = preflight.problems(self.survey, self.jobs, use, place=self.place, unfetched=unfetched)
        asked = self.place == "slurm" and self.jobs
        found += filter(None, (*dict.fromkeys(self._memory()), self.bill.problem()))
        return [*found, *(preflight_slurm.check(self.jobs, cluster, self.warnings) if asked else ())]

    def _memory(self) -> Iterator[str]:
        """Why a stage does not fit a GPU's memory; empty texts for those that do."""
        for job in self.jobs:
            match job:
                case Job(subject=Stage() as stage, execution=TrainExecution() as execution):
                    yield memory.problem(stage, execution, self.config.cluster.gpu_memory_gb)


def prepared(plan: Plan, config: Config) -> Launch:
    """What is missing of a plan now."""
    looked_up = survey(plan, Store(config.output_dir, config.store.read_from))
    jobs = [with_recompute(job, config) for job in missing_jobs(looked_up, config)]
    bill = estimate(looked_up)
    warnings = warning.warnings(jobs, looked_up, config.cluster.signal_seconds)
    return Launch(looked_up, [with_budget(job, bill) for job in jobs], warnings, config, bill)


def missing_jobs(survey: Survey, config: Config) -> list[Job]:
    """The jobs, before which what they need of sources is encoded."""
    return sources.encoded_first(missing(survey, executions_of(config)), survey.store)
