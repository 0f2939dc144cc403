"""What a command of `sft-sweeps` is, and how the commands are found.

A module of this package with a `COMMAND` is a command: add NAME.py, and `sft-sweeps NAME` is there. A command of
several files is a folder, NAME/command.py. Other distributions add theirs by entry points of `sft_sweeps.commands`.

What every command shares is fixed here and in manual.py, and tests/commands/test_style.py holds each to it: a line of
help, examples, `--json` with a `schema` that docs/json.md describes, `--output-dir` where it reads a store.
"""

import argparse
import ast
import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.registry import Registry

PACKAGE = "sft_sweeps.commands"
FOLDER = Path(__file__).parent
DECLARATION = "\nCOMMAND = Command("
# In this order `sft-sweeps --help` tells of the commands.
TOPICS = {
    "start": "To start",
    "watch": "While it runs",
    "results": "What came out",
    "keep": "The disk, and what goes to others",
    "tools": "Files and models to start from",
    "more": "More",
}


@dataclass(frozen=True)
class Command:
    """`help` is one line. `run` gets the parsed options and returns the exit status.

    A command that `reads_itself` gets its arguments as they were typed, as `options.arguments`; `add_arguments` then
    describes them. `about` is what `--help` says besides, in paragraphs; `examples` are lines to type, each with what
    it does behind a `#`; `topic` is one of TOPICS.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], int]
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    about: str = ""
    examples: tuple[str, ...] = ()
    topic: str = "more"
    reads_itself: bool = False


def modules() -> dict[str, str]:
    """Each name that may be a command of this package, and the module that would define it; nothing is imported."""
    entries = pkgutil.iter_modules([str(FOLDER)])
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


def find(name: str) -> Command:
    """The command of that name, alone: one command must not wait for the imports of all others, nor fail with another
    distribution's. RequestError names the nearest where there is none.
    """
    module = modules().get(name)
    if command := load(module) if module else None:
        return command
    if command := outside().get(name):
        return command
    raise RequestError(f"there is no command {name}{nearest(name, summaries())} (all of them: sft-sweeps --help)")


def outside() -> Mapping[str, Command]:
    """The commands of other distributions; this package's are not imported for them where there are none."""
    if not entry_points(group=PACKAGE):
        return {}
    return {name: one for name, one in COMMANDS.all.items() if name not in modules()}


def summaries() -> dict[str, tuple[str, str]]:
    """Each command's line of help and topic.

    This package's are read from the text of its files: to import all of them takes half a second.
    """
    found = {}
    for name, module in modules().items():
        path = FOLDER / name / "command.py" if module.endswith(".command") else FOLDER / f"{name}.py"
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if (start := text.find(DECLARATION)) >= 0:
            found[name] = _declared(text[start:]) or _summary(load(module))
    return {**found, **{name: _summary(one) for name, one in outside().items()}}


def _declared(text: str) -> tuple[str, str] | None:
    """Help and topic by the text of a declaration; None where they are no plain texts in it."""
    statement = ast.parse(text).body[0]
    if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Call):
        return None
    values = dict(enumerate(statement.value.args))
    keywords = {one.arg: one.value for one in statement.value.keywords}
    found = [values.get(1, keywords.get("help")), keywords.get("topic", ast.Constant(Command.topic))]
    texts = [one.value for one in found if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return (texts[0], texts[1]) if len(texts) == len(found) else None


def _summary(command: Command | None) -> tuple[str, str]:
    assert command is not None  # only called of modules that declare one
    return command.help, command.topic


def add_output_dir(parser: argparse.ArgumentParser) -> None:
    """The option that says which store is meant."""
    from sft_sweeps.config import site

    help_text = "the store (default: output_dir of conf/local/default.yaml, or multirun_outputs; here %(default)s)"
    parser.add_argument("--output-dir", default=site.output_dir(), metavar="DIR", help=help_text)


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """The argument that says which sweep is meant."""
    parser.add_argument("sweep", nargs="?", help="part of a sweep's name (default: the newest)")


def add_json(parser: "argparse._ActionsContainer") -> None:
    """The option that asks for JSON on standard output."""
    parser.add_argument("--json", action="store_true", help="print JSON: see docs/json.md")


WRITTEN_SCHEMA = 1


def say_written(options: argparse.Namespace, use: str) -> None:
    """What a command wrote as `--out`, and the override that uses it."""
    if options.json:
        print_json(WRITTEN_SCHEMA, {"written": [str(options.out)], "use": use})
    else:
        print(f"written: {options.out}; use it with {use}")


def print_json(schema: int, document: Mapping[str, Any]) -> None:
    """What `--json` prints: one object, and first of all in which version of its form."""
    print(json.dumps({"schema": schema, **document}, indent=1))
