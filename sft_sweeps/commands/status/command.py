"""The command `sft-sweeps status`: once as tables or JSON, or with `--watch` as a view that stays open."""

import argparse

from rich.markup import escape

from sft_sweeps.commands import list as listing
from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.status import tables
from sft_sweeps.commands.status.look import Look
from sft_sweeps.commands.status.parts import active
from sft_sweeps.commands.status.rows import SCHEMA
from sft_sweeps.config import site
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find, sweeps
from sft_sweeps.terminal import console, say

NEWEST = 5  # sweeps that are listed where none is named


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sweep", nargs="?", help="part of a sweep's name (default: a list of the newest, and the newest of all)"
    )
    add_output_dir(parser)
    output = parser.add_mutually_exclusive_group()
    add_json(output)
    output.add_argument(
        "--watch", action="store_true", help="a view that stays open until everything has ended; Ctrl-C leaves it"
    )


def _run(options: argparse.Namespace) -> int:
    store, out = Store(options.output_dir), console()
    look = Look(find(store, options.sweep), options.output_dir)
    if options.json:
        print_json(SCHEMA, look())
    elif options.watch:
        from sft_sweeps.commands.status.watch import watch

        watch(look, out)
    else:
        if options.sweep is None and len(newest := sweeps(store)[-NEWEST:]) > 1:
            listing.show(listing.listed(newest, store), out)
        tables.show(found := look(), out)
        if out.is_terminal and active(found):
            watch_it = site.command(options.output_dir, "status", *filter(None, [options.sweep]), "--watch")
            say(out, f"[dim]to see it go on: {escape(watch_it)}[/]")
    return 0


COMMAND = Command(
    "status",
    "how far a sweep is: runs, stages, losses, time left, what failed",
    _run,
    _add_arguments,
    about=(
        "Every run and every stage, what is at work with its loss as a chart, and of what failed the end of its log "
        "and what to type. --watch is a view to leave open, asking little of the store. docs/monitoring.md shows it."
    ),
    examples=(
        "sft-sweeps status  # the newest sweeps, and how the last one is",
        "sft-sweeps status table1 --watch",
        "sft-sweeps status --json  # for programs: docs/json.md",
    ),
    topic="watch",
)
