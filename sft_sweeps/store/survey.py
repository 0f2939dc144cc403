"""States of everything in a plan: done, running, interrupted, failed, weights gone, corrupted, missing; and why.

A subject's folder is listed once, and only what it holds is read: on a shared file system every question takes its
turn, and a large sweep asks a thousand times as many as a small one.
"""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sft_sweeps.files.folders import names
from sft_sweeps.plan.build import Plan, State, Subject
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.spec.evaluation import Generation, Representations, Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import failures, similar
from sft_sweeps.store.claims import holder
from sft_sweeps.store.resume_states import FOLDER as RESUME
from sft_sweeps.store.resume_states import resume_step
from sft_sweeps.store.seen import Entry, Seen
from sft_sweeps.store.similar import PARENT, Namesakes
from sft_sweeps.store.states import States
from sft_sweeps.store.store import (
    FREED,
    LABEL_LENGTH,
    RECORD,
    SHOWN,
    BrokenRecordError,
    Item,
    RecordError,
    Store,
    freed,
    lost_files,
    lost_names,
    merges_again,
    places,
    read_record,
)
from sft_sweeps.tracking.metrics import METRICS, last_step

NEW = State("missing", "new")
MADE_AGAIN = "it is made again"  # ends why something is missing whose record is broken
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Survey:
    """A plan, a store, and what the store knows of everything in the plan: its states by id.

    Of what is done, and of models whose weights are gone since, `records` has the record without the identity; `held`
    what each subject's folder holds, by id; `seen` is the index that finished work was looked up in.
    """

    plan: Plan
    store: Store
    states: Mapping[str, State]
    records: Mapping[str, Record] = field(default_factory=dict)
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    seen: Seen = field(default_factory=lambda: Seen(None), compare=False, repr=False)


def survey(
    plan: Plan, store: Store, queue: Queue | None = None, *, thorough: bool = True, seen: Seen | None = None
) -> Survey:
    """Look everything of a plan up in a store; `queue`: as it was asked before, else it is asked now.

    Not `thorough`, a model's files count as there when they are listed, and a score as done by its record: enough for
    who builds nothing on them. Then `seen` is what an earlier look found, and keeps what this one finds.
    """
    assert not (thorough and seen), "what is kept says nothing of sizes"
    return _Surveyor(plan, store, queue or Queue(), thorough, seen).survey()


def survey_again(before: Survey, queue: Queue, subjects: Collection[str]) -> Survey:
    """Look some subjects, by their ids, and all that hangs on them up once more; the rest stays as it was found."""
    surveyor = _Surveyor(before.plan, before.store, queue, thorough=False)
    surveyor.start_from(before, subjects)
    return surveyor.survey(subjects)


class _Surveyor:
    """Looks at one thing after the other."""

    def __init__(self, plan: Plan, store: Store, queue: Queue, thorough: bool, seen: Seen | None = None) -> None:
        self.plan, self.store, self.queue, self.thorough = plan, store, queue, thorough
        self.seen = seen or Seen(None)
        self.final: dict[str, Entry] = {}  # of each subject, what is done or freed, to be kept
        self.states = States()
        self.records: dict[str, Record] = {}
        self.held: dict[str, frozenset[str]] = {}
        self.namesakes: dict[str, Namesakes] | None = None

    def start_from(self, before: Survey, subjects: Collection[str]) -> None:
        """Take over what was found, but for what some subjects' folders hold."""
        assert isinstance(before.states, States), "it comes from `survey`"
        self.states = States(before.states)
        self.records = dict(before.records)
        self.held = {key: names for key, names in before.held.items() if key not in subjects}

    def survey(self, only: Collection[str] | None = None) -> Survey:
        """Of all subjects, or of those with some ids."""
        known = self.states.known
        for subject in self.plan.subjects:
            if only is None or subject.id in only:
                known[subject.id] = self.explained(subject, known.get(subject.id))
        for generation, score in zip(self.plan.generations, self.plan.scores, strict=True):
            if only is None or generation.subject.id in only:
                self.evaluated(generation, score)
        known |= {one.id: self.state(one) for one in self.plan.analyses if only is None or one.subject.id in only}
        for subject in self.plan.subjects if self.seen.folder else ():
            self.remember(subject)
        return Survey(self.plan, self.store, self.states, self.records, self.held, self.seen)

    def explained(self, subject: Subject, before: State | None) -> State:
        """The state of a subject; of a new stage also why it must be trained, which is found out once."""
        state = self.state(subject)
        if state != NEW or not isinstance(subject, Stage):
            return state
        return before if before and before.state == "missing" else State("missing", self.why(subject))

    def evaluated(self, generation: Generation, score: Score) -> None:
        """Note the states of answers and their score."""
        known = self.states.known
        known[score.id] = self.state(score)
        if known[score.id].state == "done":
            known.pop(generation.id, None)
            self.states.later[generation.id] = partial(self.state, generation)
        else:
            self.states.later.pop(generation.id, None)
            known[generation.id] = self.state(generation)

    def state(self, item: Item) -> State:
        """The state in this store, unless another one has it done."""
        state = self.own_state(item)
        if state.state in ("done", "corrupted"):
            return state
        other = self.store.elsewhere(item)
        if other is None:
            return state
        with contextlib.suppress(RecordError):
            self.keep(item, other.record(item) or {})
        return State("done", f"in {other.root}")

    def own_state(self, item: Item) -> State:
        """The state in this store alone."""
        kept = self.kept(_subject(item))
        self.listed(item)
        if kept and item.id in kept.states:
            self.records |= {key: kept.records[key] for key in (item.id,) if key in kept.records}
            state, why = kept.states[item.id]
            return State(state, why)
        found = self.looked_at(item)
        was_freed = isinstance(item, Subject) and FREED in self.held[item.id] and not merges_again(item)
        if self.seen.folder and (found.state == "done" or (found.state == "weights gone" and was_freed)):
            self.note_final(item, found)
        return found

    def note_final(self, item: Item, found: State) -> None:
        """To be kept: the state and the record here, not that of another store that is read in its place."""
        subject = _subject(item)
        entry = self.final.setdefault(subject.id, Entry(self.store.folder(subject).name))
        entry.states[item.id] = [found.state, found.why]
        if item.id in self.records:
            entry.records[item.id] = dict(self.records[item.id])

    def looked_at(self, item: Item) -> State:
        """The same, by what is in the folders."""
        here, folder = self.listed(item), self.store.write_folder(item)
        if not isinstance(item, Subject):
            return (self.recorded(item, folder, here) if _kind(item) in here else None) or NEW
        found = self.recorded(item, folder, here) if RECORD in here else None
        if found and found.state != "missing":
            return found
        state = self.unfinished(folder, here) if here else NEW
        if found and state.state == "missing":
            state = found
        if state.state == "running" or not _claimed(here):
            return state
        here = self.held[item.id] = names(folder)  # its work may have ended between the list and the claim
        return self.recorded(item, folder, here) or state

    def recorded(self, item: Item, folder: Path, here: frozenset[str]) -> State | None:
        """The state of what has a record; None without one, "missing" with one that is broken."""
        self.sign(item, folder / RECORD)
        try:
            record = read_record(folder, item.payload)
        except BrokenRecordError as error:
            return State("missing", f"{error}; {MADE_AGAIN}")
        except RecordError as error:
            return State("corrupted", str(error))
        if record is None:
            return None
        self.keep(item, record)  # also of weights that are gone: what training them took stays known
        if isinstance(item, Subject) and FREED in here and not merges_again(item) and (why := self.freed(item, folder)):
            return State("weights gone", why)
        if lost := self.lost(item, folder, here, record):
            if not isinstance(item, Subject):
                self.records.pop(item.id, None)
            return State("weights gone", f"{', '.join(lost)} gone from {folder}")
        return State("done")

    def lost(self, item: Item, folder: Path, here: frozenset[str], record: Record) -> list[str]:
        """Files of a record that are not there any more, as closely as is looked."""
        if self.thorough:
            return lost_files(folder, record)
        if not isinstance(item, Subject):
            return []
        for place in places(record):
            self.sign(item, folder / place)
        return lost_names(folder, here, record)

    def freed(self, subject: Subject, folder: Path) -> str:
        """How a model came to be gone on purpose."""
        self.sign(subject, folder / FREED)
        return freed(folder)

    def listed(self, item: Item) -> frozenset[str]:
        """What the folder of an item's subject holds."""
        subject = _subject(item)
        if subject.id not in self.held:
            if kept := self.kept(subject):
                self.held[subject.id] = frozenset(kept.names)
            else:
                self.sign(subject, folder := self.store.folder(subject))
                self.held[subject.id] = names(folder)
        return self.held[subject.id]

    def kept(self, subject: Subject) -> Entry | None:
        """What an earlier look found of a subject and still is so."""
        return self.seen.entry(subject.id, self.store.folder(subject)) if self.seen.folder else None

    def sign(self, item: Item, path: Path) -> None:
        """Before the file system is asked of a path: what is found rests on it."""
        if self.seen.folder:
            subject = _subject(item)
            self.seen.sign(subject.id, self.store.folder(subject), path)

    def remember(self, subject: Subject) -> None:
        """Keep what is final of a subject that is done, or whose model was freed, and that nobody works on."""
        # Taken out: what is asked about later would come into it without what that rests on.
        final, here = self.final.pop(subject.id, None), self.held[subject.id]
        if final and (self.kept(subject) or subject.id in final.states) and not _claimed(here):
            final.names = sorted(here)
            self.seen.keep(subject.id, final)

    def keep(self, item: Item, record: Record) -> None:
        """Remember what a record says beyond the identity, which the item has itself."""
        if not isinstance(item, Generation):
            self.records[item.id] = {key: value for key, value in record.items() if key != "payload"}

    def unfinished(self, folder: Path, here: frozenset[str]) -> State:
        """The state of a stage or base model whose folder, with that in it, has no record."""
        step = last_step(folder) if METRICS in here else 0
        if _claimed(here) and (claim := holder(folder, self.queue)):
            return State("running", f"by {claim.sweep}: {claim.who}", step)
        if failures.FAILURE in here and (failure := failures.reason_of(folder)):
            return State("failed", failure, step)
        if RESUME in here and (resumable := resume_step(folder)):
            return State("interrupted", f"resume state at step {resumable}", resumable)
        return State("missing", "started before, nothing saved") if step else NEW

    def why(self, stage: Stage) -> str:
        """Why a stage must be trained: it is new, or differs in some fields from a stage of its label."""
        if self.namesakes is None:
            self.namesakes = similar.by_label(self.store.stage_folders())
        alike = self.namesakes.get(stage.label[:LABEL_LENGTH])
        if alike and (found := alike.nearest(stage.payload)):
            changed, against = found
            shown = [text for text in changed if not text.startswith(f"{PARENT} ")] or ["its parent differs"]
            return f"new: {'; '.join(shown[:SHOWN])} (against {against})"
        parent = self.states.known.get(stage.parent.id)
        return "new, after its parent" if stage.parent.chain and parent and parent.state != "done" else "new"


def made_again(surveyed: Survey) -> Iterator[str]:
    """What is done once more because nothing can be read from its record; answers that were scored are not."""
    states = surveyed.states.known if isinstance(surveyed.states, States) else surveyed.states
    yield from (state.why for state in states.values() if state.why.endswith(MADE_AGAIN))


def _claimed(here: frozenset[str]) -> bool:
    return any(name.startswith("claim-") for name in here)


def _kind(item: Generation | Score | Representations) -> str:
    """The folder in its subject's that an item lies in."""
    if isinstance(item, Representations):
        return "representations"
    return "scores" if isinstance(item, Score) else "generations"


def _subject(item: Item) -> Subject:
    if isinstance(item, Subject):
        return item
    return item.generation.subject if isinstance(item, Score) else item.subject
