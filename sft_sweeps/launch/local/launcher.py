"""The launcher of this machine: runs the jobs as its processes, with progress, and shows the sweep's table."""

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RunError
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.local import preflight
from sft_sweeps.launch.local.cores import capacity, with_threads
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.launch.local.runner import JobRunner
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.launch.results import show_at_tracker, show_results
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import counted, say
from sft_sweeps.tracking import problems as mirrors


class LocalLauncher:
    """Runs jobs here and waits for them (the methods are those of `launchers.JobLauncher`)."""

    def disk_policy(self, config: Config) -> DiskPolicy:
        at_once = max(1, capacity(config.cluster).processes // config.cluster.processes)
        return DiskPolicy(at_once, "cluster.jobs", config.store.retention)

    def problems(self, work: MissingWork) -> list[str]:
        gpus = work.config.plan.gpus if any(job.gpus for job in work.jobs) else 0
        packed = f"plan.gpus={gpus}: on this machine jobs with GPUs run one after another, never side by side as packed"
        return [*preflight.problems(work.jobs), *([f"{packed}; type cluster=slurm, or leave it out"] if gpus else [])]

    def launch(self, work: MissingWork, sweep: Sweep, out: Console) -> int:
        cluster = work.config.cluster
        jobs = with_threads(work.jobs, work.plan, work.store, cluster)
        with Progress(jobs, out) as progress:
            failures = JobRunner(jobs, work.store, sweep, capacity(cluster), progress).run()
        if failures:
            count = f"{counted(len(failures), 'job')} of {len(work.jobs):,} failed"
            say(out, f"[red]{count}[/]; launch again to continue from what is saved")
        for line in mirrors.lines(
            {job.subject.label: mirrors.problem_of(job.folder) for job in work.jobs if job.stage}
        ):
            say(out, f"[yellow]note[/] {escape(line)}")
        show_results(work, sweep, out)
        show_at_tracker(work, sweep, out)
        return RunError.exit_status if failures else 0
