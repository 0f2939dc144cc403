"""The end of a sweep that has nothing left to run: its table on the terminal and in the sweep's folder."""

from rich.console import Console
from rich.markup import escape

from sft_sweeps.jobs import retention
from sft_sweeps.launch.missing import MissingWork
from sft_sweeps.report import tables
from sft_sweeps.report.collect import collect
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.terminal import say


def show_results(work: MissingWork, sweep: Sweep, out: Console) -> None:
    """Free the models that the retention policy no longer keeps, print the sweep's table, write its report."""
    store = sweep.store(work.survey.store.root)
    for text in retention.free(sweep, store):
        say(out, escape(text))
    results = collect(work.survey.plan, store, sweep.name, sweep.question)
    tables.show(results, out)
    paths = tables.write(results, sweep.folder / "report")
    say(out, f"written: {', '.join(map(str, paths))}")
