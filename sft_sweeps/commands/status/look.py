"""A sweep looked at again and again: all of it once, afterwards what may have changed, a few folders at a time.

A view that stays open must not cost a shared file system more than it tells. Slurm's queue, which is asked anyway, says
which jobs began or ended; what runs is looked at each time; of the rest that is not done a few take turns.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sft_sweeps.commands.status import rows
from sft_sweeps.commands.status.rows import Row
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.status import SweepStatus, status_again, status_of
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store.sweeps import Sweep

MOST = 12  # subjects that are looked at because they run, began or ended
TURNS = 4  # of the others that are not done
Seen = dict[str, tuple[str, str, str]]  # state, reason and nodes of the jobs in the queue


class Look:
    """Each call is a look; all after the first ask little of the store."""

    def __init__(self, sweep: Sweep, root: Path | str) -> None:
        self.plan, self.sweep, self.store = sweep.plan(), sweep, sweep.store(root)
        self.folder = self.store.root / "sweeps" / sweep.name
        self._found: SweepStatus | None = None
        self._rows: Row | None = None
        self._queue: Seen = {}
        self._news: set[str] = set()  # subjects to look at first
        self._number = 0
        self._last: dict[str, int] = {}  # the number of the look at a subject

    def __call__(self) -> Row:
        """The status now, as `rows` has it."""
        slurm = Queue()
        queue = self._entries(slurm)
        if self._found is None:
            subjects = [subject.id for subject in self.plan.subjects]
            found = status_of(self.plan, self.store, self.folder, slurm)
        else:
            changed = (job for job in queue | self._queue if queue.get(job) != self._queue.get(job))
            self._news |= set(map(_subject, changed))
            subjects = list(self._chosen(self._found))
            found = status_again(self._found, self.folder, slurm, subjects)
            self._news |= set(self._following(self._found, found))
        self._rows = rows.rows(found, self.sweep.name, self._rows, subjects)
        found.survey.seen.save()
        self._found, self._queue = found, queue
        self._news -= set(subjects)
        self._number += 1
        self._last |= dict.fromkeys(subjects, self._number)
        return self._rows

    def _entries(self, slurm: Queue) -> Seen:
        submitted = submissions.latest(self.folder)
        listed = {job: submissions.listed(one, slurm) for job, one in submitted.items()}
        return {job: (entry.state, entry.reason, entry.nodes) for job, entry in listed.items() if entry}

    def _chosen(self, found: SweepStatus) -> Iterator[str]:
        """The subjects to look at, those first that were not looked at for longest."""
        by_age = sorted((subject.id for subject in self.plan.subjects), key=lambda key: self._last.get(key, 0))
        running = {_subject(job) for job, status in found.jobs.items() if status.state in ("running", "unknown")}
        first = [key for key in by_age if key in self._news] + [key for key in by_age if key in running - self._news]
        others = self._open(found) - set(first)
        yield from first[:MOST]
        yield from islice((key for key in by_age if key in others), TURNS)

    def _open(self, found: SweepStatus) -> set[str]:
        """The subjects of which anything is not done."""
        scores = {one.generation.subject.id for one in self.plan.scores if found.states[one.id].state != "done"}
        analyses = {one.subject.id for one in self.plan.analyses if found.states[one.id].state != "done"}
        made = {subject.id for subject in self.plan.subjects if not found.states[subject.id].trained}
        return scores | analyses | made

    def _following(self, before: SweepStatus, now: SweepStatus) -> Iterator[str]:
        """The stages whose parent's job is not in the state in which it was."""
        changed = {_subject(job) for job, status in now.jobs.items() if status != before.jobs.get(job)}
        return (stage.id for stage in self.plan.stages if stage.parent.id in changed)


def _subject(job: str) -> str:
    """The id of what a job works on."""
    return job.partition("-")[2]
