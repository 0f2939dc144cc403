"""What a command of `sft-sweeps` is, and how the commands are found.

A module of this package with a `COMMAND` is a command: add NAME.py, and `sft-sweeps NAME` is there. A command of
several files is a folder, NAME/command.py. Other distributions add theirs by entry points of `sft_sweeps.commands`.
"""

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.config import site
from sft_sweeps.registry import Registry

PACKAGE = "sft_sweeps.commands"


@dataclass(frozen=True)
class Command:
    """`help` is one line. `run` gets the parsed options and returns the exit status.

    Without `add_arguments` the command reads its arguments itself: they are `options.arguments`, as they were typed.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None


def modules() -> dict[str, str]:
    """Each name that may be a command of this package, and the module that would define it; nothing is imported."""
    entries = pkgutil.iter_modules([str(Path(__file__).parent)])
    return {entry.name: f"{PACKAGE}.{entry.name}{'.command' if entry.ispkg else ''}" for entry in entries}


def own_commands() -> dict[str, Command]:
    """This package's commands by name."""
    commands = [load(module) for module in modules().values()]
    return {command.name: command for command in commands if command}


def load(module: str) -> Command | None:
    """The command of a module; None for a module without one."""
    command: Command | None = getattr(importlib.import_module(module), "COMMAND", None)
    return command


COMMANDS = Registry("command", PACKAGE, own_commands)


def asked_for(arguments: Sequence[str]) -> list[Command]:
    """The command that the arguments name first, alone: one command must not wait for the imports of all others, nor
    fail with another distribution's. All commands where none of this package is named.
    """
    module = modules().get(arguments[0]) if arguments else None
    command = load(module) if module else None
    return [command] if command else list(COMMANDS.all.values())


def add_output_dir(parser: argparse.ArgumentParser) -> None:
    """The option that says which store is meant."""
    help_text = "the store (default: output_dir of conf/local/default.yaml, or multirun_outputs; here %(default)s)"
    parser.add_argument("--output-dir", default=site.output_dir(), help=help_text)


def add_json(parser: "argparse._ActionsContainer") -> None:
    """The option that asks for JSON on standard output."""
    parser.add_argument("--json", action="store_true", help="print JSON")
