"""The end of a sweep that has nothing left to run: its table on the terminal and in the sweep's folder."""

from dataclasses import replace

from rich.console import Console
from rich.markup import escape

from sft_sweeps.jobs import retention
from sft_sweeps.launch.hints import sweep_command
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.report import current, tables, tracked
from sft_sweeps.report.collect import collect
from sft_sweeps.report.page import evidence
from sft_sweeps.report.page.build import PAGE
from sft_sweeps.report.scores import Scores
from sft_sweeps.report.write import write
from sft_sweeps.store.seen import Seen
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import say
from sft_sweeps.tracking import problems, remembered, trackers


def show_results(work: MissingWork, sweep: Sweep, out: Console) -> None:
    """Free the models that the retention policy no longer keeps, print the sweep's table, write its report and page.

    A report that says already what would be written now is left alone.
    """
    store, folder = work.store, sweep.folder / "report"
    plan = replace(work.plan, hypotheses=sweep.hypotheses)  # as they were before anything was scored
    for text in retention.free(sweep, store):
        say(out, escape(text))
    if work.jobs or not work.survey.seen.folder:
        # Kept, so that the next launch of what is finished reads one file in place of all records.
        surveyed = survey(plan, store, thorough=False, seen=Seen(sweep.folder))
    else:
        surveyed = replace(work.survey, plan=plan)
    surveyed.seen.save(anything=True)  # one stage of many too: a launch asks whether all are kept
    scores = Scores(store, surveyed)
    made_from = current.key(plan, scores, sweep.name, sweep.question)
    made = current.read(folder, made_from)
    results = collect(plan, scores, sweep.name, sweep.question, made)
    tables.show(results, out)
    if made is None:
        found = evidence.of(sweep, surveyed, scores, results)
        current.note(folder, made_from, write([found], folder))
    paths = ", ".join(str(folder / name) for name in tables.FILES)
    say(out, f"written: {paths}" if made is None else f"the report of these scores is there already: {paths}")
    say(out, f"the page: {folder / PAGE}")


def show_at_tracker(work: MissingWork, sweep: Sweep, out: Console) -> None:
    """The sweep's answers, scores and tables at the tracker that shows its metrics, as far as they are made."""
    tracking = remembered.shown_at(sweep.folder)
    if tracking is None:
        return
    runs = tracked.Shown(evidence.read(sweep, work.store.root), sweep.folder, tracking, now=False).finished()
    for folder in {run.folder for run in runs}:
        problems.forget(folder)
    outcomes = list(trackers.publish(runs))
    for line in trackers.summary(tracking.name, outcomes):
        say(out, escape(line))
    if any(outcome.how in ("kept", "failed") for outcome in outcomes):
        command = sweep_command("sync", sweep.name, work.config)
        say(out, escape(f"to upload them, wherever there is a network and a key: {command}"))
