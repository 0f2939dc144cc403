"""The launcher for debugging: runs the jobs one after the other in this process, with their output on the terminal.

A `breakpoint()` anywhere in the work stops there. An exception is not caught: it opens pdb where it was raised, or is
shown whole where no terminal can answer. Nothing is retried, and a stage has one process.
"""

import logging
import os
import pdb
import sys
import traceback

from rich.console import Console

from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RunError
from sft_sweeps.jobs.job import Job, claim_folder
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.local import preflight
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.launch.results import show_results
from sft_sweeps.store import claims, heartbeats
from sft_sweeps.store.store import Store, clear_unrecorded
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import say


class DebugLauncher:
    """Runs jobs in this process (the methods are those of `launchers.JobLauncher`)."""

    def disk_policy(self, config: Config) -> DiskPolicy:
        return DiskPolicy(1, "cluster.jobs", config.store.retention)

    def problems(self, work: MissingWork) -> list[str]:
        several = [job for job in work.jobs if job.processes > 1]
        text = "cluster.name=debug runs a stage in one process; set cluster.processes=1, or a model without GPUs"
        return [*preflight.problems(work.jobs), *([text] if several else [])]

    def launch(self, work: MissingWork, sweep: Sweep, out: Console) -> int:
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        logging.getLogger("sft_sweeps").setLevel(logging.INFO)
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
        for number, job in enumerate(work.jobs, start=1):
            say(out, f"job {number} of {len(work.jobs)}: {job.kind} {job.subject.label}")
            try:
                _run(job, work.store, sweep)
            except Exception as error:
                traceback.print_exc()
                if sys.stdin.isatty():
                    pdb.post_mortem(error.__traceback__)
                return RunError.exit_status
        show_results(work, sweep, out)
        return 0


def _run(job: Job, store: Store, sweep: Sweep) -> None:
    """Do the job's work under its claim; whatever it raises is the caller's."""
    from sft_sweeps.worker import dispatch  # torch, for some kinds of job

    folder = store.folder(job.subject)
    claimed = claim_folder(job, folder)
    claimed.mkdir(parents=True, exist_ok=True)
    claim = claims.take(claimed, sweep.name)
    if claim is None:
        raise RunError(f"another launch works on {job.kind} {job.subject.label}; debug one that nobody else runs")
    with heartbeats.working(claimed, claim):
        if job.makes_model:
            clear_unrecorded(folder)
        dispatch.do(job, stop=lambda: False)
