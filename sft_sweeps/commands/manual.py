"""How every command reads its arguments, and says what it is for: `sft-sweeps COMMAND --help` is its manual page.

argparse, with three differences. What is wrong is one message with the nearest valid word. A shortened option is not
taken for the long one: `--out` would mean `--output-dir` where there is no `--out`, until there is one. And a page has
the examples, the exit statuses and where its JSON is described.
"""

import argparse
import shutil
from collections.abc import Sequence
from typing import Any, NoReturn, TypeVar

from sft_sweeps.commands.command import TOPICS, Command, summaries
from sft_sweeps.errors import RequestError, nearest

Action = TypeVar("Action", bound=argparse.Action)
WIDTH = 100  # of a page, at most
STATUSES = "exit status: 0 done, 1 something failed, 2 the request was wrong, 75 interrupted with everything saved"


def width() -> int:
    """Of the text on a page: the terminal's, within reason."""
    return min(shutil.get_terminal_size().columns, WIDTH) - 2


class Formatter(argparse.HelpFormatter):
    """Paragraphs are wrapped, lines to type left as they are."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=width())

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = super()._fill_text
        parts = text.strip().split("\n\n")
        return "\n\n".join(part if "\n    " in part else filled(part, width, indent) for part in parts)


class Parser(argparse.ArgumentParser):
    """Also of the commands below a command: argparse makes them of the class of the one above."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": Formatter, **options})
        self._positionals.title = "arguments"

    def _add_action(self, action: Action) -> Action:
        """With arguments in capitals, as the docs have them."""
        if not action.option_strings and action.metavar is None and action.choices is None:
            action.metavar = action.dest.upper()
        return super()._add_action(action)

    def error(self, message: str) -> NoReturn:
        """RequestError, for `main` to say."""
        raise RequestError(f"{message} (see: {self.prog} --help)")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        options, left = self.parse_known_args(args, namespace)
        if option := next((word.partition("=")[0] for word in left if word.startswith("-")), ""):
            self.error(f"there is no option {option}{nearest(option, _options(self))}")
        if left:
            self.error(f"{left[0]} is one word too many")
        return options

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            valid = [str(one) for one in action.choices]
            text = f"{value} is unknown; valid: {', '.join(valid)}{nearest(str(value), valid)}"
            raise argparse.ArgumentError(action, text)


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """Every option of a parser and of those below it."""
    below = [one for action in parser._actions if isinstance(action, argparse._SubParsersAction) for one in
             action.choices.values()]  # fmt: skip
    own = [option for action in parser._actions for option in action.option_strings]
    return [*own, *(option for one in below for option in _options(one))]


def parser_of(command: Command) -> Parser:
    """What reads a command's arguments."""
    description = f"{command.help[:1].upper()}{command.help[1:]}.\n\n{command.about}"
    made = Parser(prog=f"sft-sweeps {command.name}", description=description, epilog=_end(command))
    if command.add_arguments:
        command.add_arguments(made)
    return made


def _end(command: Command) -> str:
    examples = "".join(f"    {line}\n" for line in aligned(command.examples))
    return (f"examples:\n{examples}\n" if examples else "") + STATUSES


def aligned(lines: Sequence[str]) -> list[str]:
    """Lines to type, with what stands behind their `#` below each other."""
    parts = [line.partition("#") for line in lines]
    width = max((len(typed.rstrip()) for typed, mark, _ in parts if mark), default=0)
    return [f"{typed.rstrip():<{width}}  # {what.strip()}" if mark else typed for typed, mark, what in parts]


def page(command: Command) -> str:
    """A command's manual page."""
    return parser_of(command).format_help()


def overview() -> str:
    """What `sft-sweeps --help` says: every command in a line, by what it is for."""
    lines = ["usage: sft-sweeps COMMAND ...", "", "Launch sweeps of fine-tuning data, and see what came of them."]
    found = summaries()
    width = max(map(len, found))
    for topic, title in TOPICS.items():
        own = [(name, text) for name, (text, of) in sorted(found.items()) if of == topic]
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in own)] if own else []
    lines += ["", "sft-sweeps help COMMAND shows a command's manual page, sft-sweeps --version the version.", STATUSES]
    return "\n".join(lines) + "\n"
