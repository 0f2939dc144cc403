"""`sft-sweeps launch --until-done`: a launch that stays, and submits what did not fit or what was preempted.

Every few minutes it asks Slurm's queue once and submits what there is room for. A job that failed is not tried again; a
job that was ended for another's sake, or whose node was lost, and that Slurm did not put back into the queue itself,
continues from its resume state, and what was cancelled because it waited for it is submitted again too.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.jobs.evidence import JobStatus
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.status import status_of
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.slurm import reasons
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import say

POLL_SECONDS = 120.0
Submit = Callable[[Collection[str], Queue], Collection[str]]  # of these jobs what fits; those that still wait for room


def until_done(work: MissingWork, sweep: Sweep, waiting: Collection[str], submit: Submit, out: Console) -> int:
    """Until every job of the sweep has ended; 0 where all are done."""
    say(out, "staying until the sweep is done; Ctrl-C leaves, and its jobs go on")
    try:
        while True:
            time.sleep(POLL_SECONDS)
            queue = Queue()
            statuses = status_of(work.plan, work.store, sweep.folder, queue).jobs
            again = {*waiting, *lost(work.jobs, statuses)}
            if not again and not any(status.active for status in statuses.values()):
                break
            waiting = submit(again, queue) if again else ()
    except KeyboardInterrupt:
        return Interrupted.exit_status
    done = sum(statuses[job.id].state == "done" for job in work.jobs if job.id in statuses)
    say(out, f"sweep {sweep.name}: {done} of {len(work.jobs)} jobs are done")
    for job in work.jobs:
        if (status := statuses.get(job.id)) and status.state == "failed":
            say(out, f"[red]failed[/] {job.id} ({escape(job.subject.label)}): {escape(status.why)}")
    return 0 if done == len(work.jobs) else RunError.exit_status


def lost(jobs: Sequence[Job], statuses: Mapping[str, JobStatus]) -> set[str]:
    """The jobs that ended by no fault of theirs, and those below them that were cancelled therefore; parents first."""
    ids: set[str] = set()
    for job in jobs:
        status = statuses.get(job.id)
        if status and (status.reason in reasons.LOST or (ids & set(job.needs) and status.state == "cancelled")):
            ids.add(job.id)
    return ids
