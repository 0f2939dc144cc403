"""`sft-sweeps help [COMMAND]`: the manual page that `COMMAND --help` prints, in a pager on a terminal."""

import argparse
import sys

from sft_sweeps.commands import manual
from sft_sweeps.commands.command import Command, add_json, find, print_json

SCHEMA = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", nargs="?", help="of which to read (default: all of them, a line each)")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    named = find(options.command) if options.command else None
    text = manual.page(named) if named else manual.overview()
    if options.json:
        print_json(SCHEMA, {"command": named.name if named else None, "text": text})
    elif sys.stdout.isatty() and named:
        import pydoc  # asks PAGER

        pydoc.pager(text)
    else:
        print(text, end="")
    return 0


COMMAND = Command(
    "help",
    "the manual page of a command",
    _run,
    _add_arguments,
    examples=("sft-sweeps help  # every command in a line", "sft-sweeps help status"),
    topic="start",
)
