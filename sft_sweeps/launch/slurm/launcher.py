"""The launcher of a Slurm cluster: hands the jobs over as arrays with dependencies, and returns."""

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RunError
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.hints import sweep_command
from sft_sweeps.launch.missing import MissingWork, missing_work
from sft_sweeps.launch.settings import with_tracking
from sft_sweeps.launch.slurm import preflight
from sft_sweeps.launch.slurm.stay import until_done
from sft_sweeps.launch.slurm.warning import warning_seconds
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import counted, say

if TYPE_CHECKING:
    from sft_sweeps.launch.slurm.submit import Submission


class SlurmLauncher:
    """Submits jobs (the methods are those of `launchers.JobLauncher`)."""

    def disk_policy(self, config: Config) -> DiskPolicy:
        return DiskPolicy(config.cluster.max_running, "cluster.max_running", config.store.retention)

    def problems(self, work: MissingWork) -> list[str]:
        return preflight.check(work.jobs, work.config.cluster, _warnings(work)) if work.jobs else []

    def launch(self, work: MissingWork, sweep: Sweep, out: Console) -> int:
        done = self._submit(work, sweep, out)
        stay = work.config.cluster.until_done
        if done.waiting and not stay:
            limit = next(iter(done.waiting.values()))
            text = f"{counted(len(done.waiting), 'job')} not submitted yet, for there is room for no more ({limit})"
            say(out, f"{escape(text)}: launch again when some have ended, or with --until-done")
        say(out, f"follow it with: {sweep_command('status', sweep.name, work.config)} --watch")
        if stay:

            def submit(only: Collection[str], queue: Queue) -> Collection[str]:
                return self._submit(work, sweep, out, only, queue).waiting

            return until_done(work, sweep, done.waiting, submit, out)
        return RunError.exit_status if done.blocked else 0

    def _submit(
        self,
        work: MissingWork,
        sweep: Sweep,
        out: Console,
        only: Collection[str] | None = None,
        queue: Queue | None = None,
    ) -> "Submission":
        """Submit what is missing (`only`: of these jobs), and say what came of it."""
        from sft_sweeps.launch.slurm.submit import Submitter  # submitit: 0.2 s that only submitting pays

        jobs = work.jobs
        if only is not None:
            missing = missing_work(work.plan, work.config).jobs
            jobs = [with_tracking(job, work.plan, work.config, sweep.name) for job in missing]
        cluster = work.config.cluster
        done = Submitter(jobs, work.store, sweep, cluster, _warnings(work), only=only, slurm=queue).run()
        if done.numbers:
            kinds = Counter(job.kind for job in jobs if job.id in done.numbers)
            parts = ", ".join(f"{count} to {kind}" for kind, count in kinds.items())
            say(out, f"submitted {counted(len(done.numbers), 'job')} in {done.calls} sbatch calls ({parts})")
        if only is not None:
            return done
        for name, count in Counter(claim.sweep for claim in done.held.values()).items():
            where = "" if name == sweep.name else f" in sweep {name}; jobs that need them wait for them"
            say(out, f"{counted(count, 'job')} {'is' if count == 1 else 'are'} already queued or running{where}")
        for job, reason in done.blocked.items():
            say(out, f"[yellow]not submitted[/] {job}: {escape(reason)}")
        return done


def _warnings(work: MissingWork) -> dict[str, int]:
    """Seconds of warning before its time limit that each training job needs to save, by its id."""
    return warning_seconds(work.jobs, work.survey, work.config.cluster.signal_seconds)
