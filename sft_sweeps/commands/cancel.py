"""`sft-sweeps cancel`: end a sweep's jobs in Slurm, but none that another sweep needs.

A stage is trained once, by whichever sweep came first; another sweep may need it. So a job is left when a living job
of another sweep depends on it, when that is about a model which it makes or from which that one is made, or when the
other sweep found it submitted already and waits for it; and with it the jobs of its own sweep that it waits for. A
number counts only while the queue lists it under the name of our `sbatch` call.

Stopped jobs save their resume states first. Their claims are given back when they have left the queue, not before: a
new launch must not start in a folder that is still written to.
"""

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.jobs import submissions
from sft_sweeps.jobs.job import maker
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.jobs.submissions import Submitted
from sft_sweeps.plan.build import Plan, Subject
from sft_sweeps.slurm import queue as slurm
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.store import claims
from sft_sweeps.store.claims import Claim
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import PLAN, Sweep, named, sweeps
from sft_sweeps.store.sweeps import find as newest
from sft_sweeps.terminal import console, say

SCHEMA = 1
ENDING_SECONDS = 120.0  # within which a job that was told to end has left the queue (Slurm's KillWait is 30)
MAKING = tuple(f"{kind.name}-" for kind in KINDS.values() if kind.makes_model)  # how ids of jobs that make models begin
POLL_SECONDS = 0.5


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", help="its name, or a part that no other sweep's has")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    store = Store(options.output_dir)
    sweep = find(store, options.sweep)
    result = cancel(sweep, store, (lambda _: True) if options.yes or not sys.stdin.isatty() else _confirmed)
    print_json(SCHEMA, result) if options.json else show(result, console())
    return 0


def _confirmed(question: str) -> bool:
    """Whether the user says yes; asked on standard error, for standard output may be a file."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@dataclass
class Choice:
    """The jobs of a sweep to cancel, and those to leave, each with the reason. `local`: none was given to Slurm."""

    cancel: list[Submitted] = field(default_factory=list)
    left: list[tuple[Submitted, str]] = field(default_factory=list)
    local: bool = False


def cancel(sweep: Sweep, store: Store, confirmed: Callable[[str], bool]) -> dict[str, Any]:
    """Cancel what may be cancelled, if `confirmed` says yes to the question; the JSON of what was done.

    RequestError for a sweep that was not given to Slurm; RunError where Slurm does not answer.
    """
    if finished(sweep, store):
        return {"sweep": sweep.name, "finished": True, "cancelled": [], "left": [], "still_ending": []}
    choice = choose(sweep, store)
    if choice.local:
        raise RequestError(
            f"sweep {sweep.name} was not given to Slurm: it runs in the terminal that launched it, if it still does. "
            "Press Ctrl-C there; its workers save their resume states"
        )
    wanted: list[Submitted] = []
    if choice.cancel and confirmed(_question(sweep, choice)):
        seen, choice = {s.number for s in choice.cancel}, choose(sweep, store)  # an answer may take its time
        wanted = [s for s in choice.cancel if s.number in seen]
    ending = carry_out(wanted, sweep, store) if wanted else []
    if wanted or not choice.cancel:
        with contextlib.suppress(OSError):
            submissions.note_waits(sweep.folder, ())  # it asks for nothing more of other sweeps
    return {
        "sweep": sweep.name,
        "finished": False,
        "cancelled": [{"id": s.job, "job": s.number} for s in wanted],
        "left": [{"id": s.job, "job": s.number, "owner": s.owner, "why": why} for s, why in choice.left],
        "still_ending": [s.number for s in ending],
    }


def finished(sweep: Sweep, store: Store) -> bool:
    """Whether all of a sweep's stages are trained and all its scores are there."""
    plan = sweep.plan()
    states = survey(plan, sweep.store(str(store.root))).states
    ids = [*(stage.id for stage in plan.stages), *(score.id for score in plan.scores)]
    return all(states[key].trained for key in ids)


def _question(sweep: Sweep, choice: Choice) -> str:
    left = f" ({len(choice.left)} are left)" if choice.left else ""
    return f"cancel {len(choice.cancel)} jobs of sweep {sweep.name}{left}?"


def show(result: Mapping[str, Any], out: Console) -> None:
    """What was cancelled, and what was left and why."""
    if result.get("finished"):
        say(out, f"sweep {result['sweep']} is finished: its stages are trained and its scores are there; nothing runs")
        return
    cancelled, ending = result["cancelled"], result["still_ending"]
    kinds = Counter(one["id"].partition("-")[0] for one in cancelled)
    parts = f": {', '.join(f'{count} {kind}' for kind, count in kinds.items())}" if kinds else ""
    say(out, f"sweep {result['sweep']}: cancelled {len(cancelled)} jobs{parts}; resume states are kept")
    for one in result["left"]:
        say(out, f"left {one['id']} (job {one['job']}): {escape(one['why'])}")
    if ending:
        say(out, f"still ending: {', '.join(ending)}; launch again when they have left the queue")


def choose(sweep: Sweep, store: Store) -> Choice:
    """Read the queue, and change nothing. RunError where Slurm does not answer."""
    queue, plan, choice = Queue(), sweep.plan(), Choice()
    mine, submitted_ever = _living(sweep, plan, store, queue), submissions.read(sweep.folder)
    choice.local = not submitted_ever and not mine and not submissions.waits(sweep.folder)
    if not choice.local and not queue.reachable(claims.user()):
        raise RunError("Slurm does not answer here; nothing was cancelled")
    needed = _needed(sweep, mine, store, queue)
    for submitted in mine:
        if submitted.owner != claims.user():
            choice.left.append((submitted, f"it belongs to {submitted.owner}, who can cancel it"))
        elif submitted.job in needed:
            choice.left.append((submitted, f"sweep {needed[submitted.job]} needs it"))
        else:
            choice.cancel.append(submitted)
    return choice


def _living(sweep: Sweep, plan: Plan, store: Store, queue: Queue) -> list[Submitted]:
    """The sweep's jobs that are in the queue; of a launch that died before it wrote a number down, by its claims."""
    living = {s.number: s for s in submissions.read(sweep.folder) if submissions.alive(s, queue)}
    for subject in plan.subjects:
        folder = store.folder(subject)
        for claimed in submissions.claimed_folders(folder):
            claim = claims.holder(claimed, queue)
            if claim and claim.call and claim.job and claim.sweep == sweep.name:
                job = maker(subject) if claimed == folder else f"{claimed.name}-{subject.id}"
                living.setdefault(claim.job, Submitted(job, claim.job, claim.call, claim.owner))
    return list(living.values())


def _needed(sweep: Sweep, mine: Sequence[Submitted], store: Store, queue: Queue) -> dict[str, str]:
    """The jobs that other sweeps need, each with the name of such a sweep; and those that these wait for themselves."""
    makes = {s.job for s in mine if s.job.startswith(MAKING)}
    subjects = {job.partition("-")[2] for job in makes}
    needed: dict[str, str] = {}
    for other in sweeps(store) if mine else ():
        if other.name == sweep.name:
            continue
        waits = {*submissions.waits(other.folder), *_waited_for(other, mine, queue)}
        needed |= {s.job: other.name for s in mine if s.job in waits}
        if _asks_for(other, subjects):
            plan = other.plan()
            known: dict[str, Subject] = {subject.id: subject for subject in plan.subjects}
            makers = {job for job in waits if job.startswith(MAKING)}
            for job in (*makers, *(submitted.job for submitted in _living(other, plan, store, queue))):
                subject = known.get(job.partition("-")[2])
                needed |= dict.fromkeys(makes.intersection(_makers(subject)), other.name)
    return _with_parents(needed, sweep, mine)


def _waited_for(other: Sweep, mine: Sequence[Submitted], queue: Queue) -> Iterator[str]:
    """Those of my jobs on whose success a living job of another sweep depends in Slurm."""
    numbers = {s.number: s.job for s in mine}
    for submitted, number in submissions.dependencies(other.folder):
        if number in numbers and submissions.alive(submitted, queue):
            yield numbers[number]


def _with_parents(needed: dict[str, str], sweep: Sweep, mine: Sequence[Submitted]) -> dict[str, str]:
    """And the sweep's own jobs on which those depend that are needed."""
    numbers, above = {s.number: s.job for s in mine}, {}
    for submitted, number in submissions.dependencies(sweep.folder):
        above[submitted.number] = number
    for start in [s for s in mine if s.job in needed]:
        number = above.get(start.number, "")
        while number in numbers:
            needed.setdefault(numbers[number], needed[start.job])
            number = above.get(number, "")
    return needed


def _asks_for(sweep: Sweep, subjects: Iterable[str]) -> bool:
    """Whether a sweep's plan holds any of these ids; its text is searched, which is faster than parsing it."""
    try:
        text = (sweep.folder / PLAN).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return any(subject in text for subject in subjects)


def _makers(subject: Subject | None) -> Iterator[str]:
    """The jobs that make a subject and all that it is made from."""
    if subject is not None:
        yield from map(maker, (subject.model, *subject.chain, subject))


def carry_out(jobs: Sequence[Submitted], sweep: Sweep, store: Store) -> list[Submitted]:
    """End jobs, wait until they have left the queue, give their claims back; those that are still ending."""
    slurm.cancel(submitted.number for submitted in jobs)
    with contextlib.suppress(OSError):  # a note for `status`; the sweep may be somebody else's
        submissions.note_cancelled(sweep.folder, [submitted.number for submitted in jobs])
    ending = _wait(jobs)
    going = {submitted.number for submitted in ending}
    folders = {subject.id: store.folder(subject) for subject in sweep.plan().subjects}
    for submitted in jobs:
        folder = folders.get(submitted.job.partition("-")[2])
        if folder and submitted.number not in going:
            for claimed, claim in _claims(folder, submitted):
                claims.release(claimed, claim)
    return ending


def _wait(jobs: Sequence[Submitted]) -> list[Submitted]:
    """The jobs that are still in the queue after ENDING_SECONDS, or after Ctrl-C."""
    deadline, ending, printed = time.monotonic() + ENDING_SECONDS, list(jobs), 0
    with contextlib.suppress(KeyboardInterrupt):
        while ending and time.monotonic() < deadline:
            queue = Queue()
            ending = [s for s in ending if submissions.alive(s, queue) or not queue.reachable(s.owner)]
            if ending and len(ending) != printed:
                print(f"{len(ending)} jobs are saving and ending ...", file=sys.stderr, flush=True)
            printed = len(ending)
            time.sleep(POLL_SECONDS if ending else 0)
    return ending


def _claims(folder: Path, submitted: Submitted) -> Iterator[tuple[Path, Claim]]:
    """The claims that a job has in its subject's folder, each with the folder that it claims."""
    for claimed in submissions.claimed_folders(folder):
        if claim := claims.of_call(claimed, submitted.call, submitted.index):
            yield claimed, claim


def find(store: Store, name: str) -> Sweep:
    """The one sweep whose name is or holds `name`; RequestError where several do, as cancelling cannot be undone."""
    known = sweeps(store)
    matching = [s for s in known if s.name == name] or [s for s in known if name in s.name]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise RequestError(f"'{name}' means {len(matching)} sweeps; name one of: {named(matching)}")
    return newest(store, name)  # which says what there is


ABOUT = """\
A job that another sweep needs is left, and so is what it waits for. Stopped jobs save their resume states first, and
their claims are given back when they have left the queue. A sweep that runs on this machine is ended where it runs."""
COMMAND = Command(
    "cancel",
    "end a sweep's jobs in Slurm, but none that another sweep needs",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps cancel SWEEP --yes  # needs a cluster",),
    topic="watch",
)
