"""The launcher of this machine: runs the jobs as its processes, with progress, and shows the sweep's table."""

import os

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RunError
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.local import preflight
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.launch.local.runner import JobRunner
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.launch.results import show_results
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import say
from sft_sweeps.tracking import problems as mirrors


class LocalLauncher:
    """Runs jobs here and waits for them (the methods are those of `launchers.JobLauncher`)."""

    def disk_policy(self, config: Config) -> DiskPolicy:
        at_once = max(1, slots(config.cluster) // config.cluster.processes)
        return DiskPolicy(at_once, "cluster.jobs", config.store.retention)

    def problems(self, work: MissingWork) -> list[str]:
        return list(preflight.problems(work.jobs))

    def launch(self, work: MissingWork, sweep: Sweep, out: Console) -> int:
        with Progress(work.jobs, out) as progress:
            failures = JobRunner(work.jobs, work.survey.store, sweep, slots(work.config.cluster), progress).run()
        if failures:
            count = f"{len(failures):,} job{'' if len(failures) == 1 else 's'} of {len(work.jobs):,} failed"
            say(out, f"[red]{count}[/]; launch again to continue from what is saved")
        for line in mirrors.lines(
            {job.subject.label: mirrors.problem_of(job.folder) for job in work.jobs if job.stage}
        ):
            say(out, f"[yellow]note[/] {escape(line)}")
        show_results(work, sweep, out)
        return RunError.exit_status if failures else 0


def slots(cluster: ClusterConfig) -> int:
    """Processes that run at the same time: as configured, or what the cores carry, but at least one job's."""
    if cluster.jobs:
        return cluster.jobs * cluster.processes
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cluster.processes, cores // cluster.threads)
