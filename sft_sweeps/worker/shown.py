"""What a scoring job of a cluster shows at the sweep's tracker when it is done: nobody else is there to do it."""

import logging
import random

from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.plan.build import Plan
from sft_sweeps.store.seen import Seen
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
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
        plan, store, live = sweep.plan(), sweep.store(job.root), trackers.live(tracking)
        if not live and _lacks_a_score(plan, store):
            return  # before all of the sweep is looked up, its scores are read and compared
        surveyed = survey(plan, store, thorough=False, seen=Seen(sweep.folder))
        surveyed.seen.save()
        found = evidence.read_more(sweep, surveyed)
        shown = tracked.Shown(found, sweep.folder, tracking, now=False)
        if found.results.missing and not live:
            return  # there is a record that cannot be trusted
        runs = shown.evaluated(job.subject.id) if found.results.missing else shown.finished()
        for line in trackers.summary(tracking.name, list(trackers.publish(runs))) if runs else ():
            print(line, flush=True)
    except Exception as error:  # a mirror's trouble is no job's
        log.warning("the scores are not shown at %s: %s: %s", tracking.name, type(error).__name__, error)


def _lacks_a_score(plan: Plan, store: Store) -> bool:
    """Whether a score is still to come.

    Asked at random: each of a thousand jobs would else ask for all that are there, before one that is not.
    """
    from sft_sweeps.report.scores import Scores

    known = Scores(store)
    return any(known.record(score) is None for score in random.sample(plan.scores, len(plan.scores)))
