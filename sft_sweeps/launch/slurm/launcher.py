"""The launcher of a Slurm cluster: hands the jobs over as arrays with dependencies, and returns."""

from collections import Counter

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RunError
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.launch.slurm import preflight
from sft_sweeps.launch.slurm.warning import warning_seconds
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import say


class SlurmLauncher:
    """Submits jobs (the methods are those of `launchers.JobLauncher`)."""

    def disk_policy(self, config: Config) -> DiskPolicy:
        return DiskPolicy(config.cluster.max_running, "cluster.max_running", config.store.retention)

    def problems(self, work: MissingWork) -> list[str]:
        return preflight.check(work.jobs, work.config.cluster, _warnings(work)) if work.jobs else []

    def launch(self, work: MissingWork, sweep: Sweep, out: Console) -> int:
        from sft_sweeps.launch.slurm.submit import Submitter  # submitit: 0.2 s that only submitting pays

        done = Submitter(work.jobs, work.store, sweep, work.config.cluster, _warnings(work)).run()
        if done.numbers:
            kinds = Counter(job.kind for job in work.jobs if job.id in done.numbers)
            parts = ", ".join(f"{count} to {kind}" for kind, count in kinds.items())
            say(out, f"submitted {_count(len(done.numbers))} in {done.calls} sbatch calls ({parts})")
        for name, count in Counter(claim.sweep for claim in done.held.values()).items():
            where = "" if name == sweep.name else f" in sweep {name}; jobs that need them wait for them"
            say(out, f"{_count(count)} {'is' if count == 1 else 'are'} already queued or running{where}")
        for job, reason in done.blocked.items():
            say(out, f"[yellow]not submitted[/] {job}: {escape(reason)}")
        say(out, f"follow it with: sft-sweeps status {sweep.name} --watch")
        return RunError.exit_status if done.blocked else 0


def _warnings(work: MissingWork) -> dict[str, int]:
    """Seconds of warning before its time limit that each training job needs to save, by its id."""
    return warning_seconds(work.jobs, work.survey, work.config.cluster.signal_seconds)


def _count(jobs: int) -> str:
    return f"{jobs:,} job{'' if jobs == 1 else 's'}"
