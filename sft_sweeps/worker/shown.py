"""What a scoring job of a cluster shows at the sweep's tracker when it is done: nobody else is there to do it."""

import logging

from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.tracking import remembered

log = logging.getLogger(__name__)


def after(job: Job, sweep: Sweep) -> None:
    """The scores that it made, where somebody may be looking; of the job that makes a sweep's last score, everything.

    Whatever goes wrong costs the job nothing.
    """
    if not KINDS[job.kind].scores or (tracking := remembered.shown_at(sweep.folder)) is None:
        return
    from sft_sweeps.report import tracked  # a second that other jobs do not wait for
    from sft_sweeps.report.page import evidence
    from sft_sweeps.tracking import trackers

    try:
        found = evidence.read(sweep, job.root)
        shown = tracked.Shown(found, sweep.folder, tracking, now=False)
        if found.results.missing:
            runs = shown.evaluated(job.subject.id) if trackers.live(tracking) else []
        else:
            runs = shown.finished()
        for line in trackers.summary(tracking.name, list(trackers.publish(runs))) if runs else ():
            print(line, flush=True)
    except Exception as error:  # a mirror's trouble is no job's
        log.warning("the scores are not shown at %s: %s: %s", tracking.name, type(error).__name__, error)
