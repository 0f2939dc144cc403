"""What a word on the command line may become, for the shell's Tab key: argcomplete asks, this module answers.

Only what is quick is looked at: names of files and folders, the text of conf/ and the typed keys.
"""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from sft_sweeps.commands import manual
from sft_sweeps.commands.command import find, summaries
from sft_sweeps.errors import SweepError

ID = re.compile(r"(?P<label>.+)-(?P<id>[0-9a-f]{12})")
SWEEP = re.compile(r"\d{8}-\d{6}-(?P<name>.+)")
Completer = Callable[..., Iterable[str]]


def complete() -> None:
    """Tell the shell what there is, and leave: nothing else runs."""
    from argcomplete.finders import CompletionFinder
    from argcomplete.lexers import split_line

    words = split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))[3]
    CompletionFinder()(_parser(words[1:]), always_complete_options=False, append_space=None)


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """Of the command that is typed, else of the names of all."""
    names = summaries()
    whole = manual.Parser(prog="sft-sweeps")
    whole.add_argument("--version", action="store_true")
    below = whole.add_subparsers()
    for name, (text, _) in names.items():
        parser = below.add_parser(name, help=text)
        if words[:1] == [name]:
            _describe(parser, name, names)
    return whole


def _describe(parser: argparse.ArgumentParser, name: str, names: Iterable[str]) -> None:
    try:
        command = find(name)
    except SweepError:  # of another distribution, which cannot be loaded
        return
    if command.add_arguments:
        command.add_arguments(parser)
    for one in _all_parsers(parser):
        for action in one._actions:
            if completer := _completer(action, names):
                action.completer = completer  # type: ignore[attr-defined]


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _all_parsers(one)


def _completer(action: argparse.Action, names: Iterable[str]) -> Completer | None:
    """By the name that an argument has in its manual page; argcomplete itself knows choices and files."""
    meant = set(re.split(r"\W+", str(action.metavar or action.dest).upper()))
    if action.option_strings:
        return None
    if meant & {"STAGE", "RUN", "OTHER"}:
        return lambda parsed_args, **_: [
            *stages(_store(parsed_args)),
            *(sweeps(_store(parsed_args)) if "SWEEP" in meant else ()),
        ]
    if "SWEEP" in meant:
        return lambda parsed_args, **_: sweeps(_store(parsed_args))
    if "TOPIC" in meant:
        from sft_sweeps.commands.doctor.topics import TOPICS

        return lambda prefix, **_: [*TOPICS, *overrides(prefix)]
    if "OVERRIDE" in meant:
        return lambda prefix, **_: overrides(prefix)
    if "COMMAND" in meant:
        return lambda **_: names
    return None


def _store(options: argparse.Namespace) -> Path:
    from sft_sweeps.config import site

    return Path(getattr(options, "output_dir", None) or site.output_dir())


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def sweeps(store: Path) -> list[str]:
    """Every sweep by its whole name, and by what stands behind its time: a part is enough to name it."""
    names = _names(store / "sweeps")
    return [*names, *dict.fromkeys(found["name"] for name in names if (found := SWEEP.fullmatch(name)))]


def stages(store: Path) -> list[str]:
    """Stages and base models, by their labels and their ids."""
    found = [match for kind in ("stages", "models") for name in _names(store / kind) if (match := ID.fullmatch(name))]
    return [*dict.fromkeys(match["label"] for match in found), *(match["id"] for match in found)]


def overrides(typed: str) -> list[str]:
    """How an override of a launch can go on: a group or key up to its next dot, or the values behind `=`."""
    from sft_sweeps.config import choices, site

    prefix = typed[: len(typed) - len(typed.lstrip("+~"))]
    key, equals, value = typed.removeprefix(prefix).partition("=")
    groups = choices.groups(site.conf_folders())
    if equals:
        before, comma, _ = value.rpartition(",")
        known = groups.get(key.partition("@")[0]) or _values(key)
        return [f"{prefix}{key}={before}{comma}{one}" for one in known]
    return [prefix + one for one in _next_parts(key, groups)]


def _next_parts(key: str, groups: Iterable[str]) -> list[str]:
    """The names that may follow the last dot: `model=`, `data.`, `data.seed=`."""
    from sft_sweeps.config import keys, site

    depth = key.count(".") + 1
    every = keys.valid_keys(site.conf_folders())
    found = [f"{group}=" for group in groups if depth == 1]
    for one in every:
        parts = one.split(".")
        if one.startswith(key):
            found.append(f"{one}=" if len(parts) == depth else ".".join(parts[:depth]) + ".")
    return [one for one in dict.fromkeys(found) if one.startswith(key)]


def _values(key: str) -> list[str]:
    """What may stand behind a key: true and false, or the words of which it is one."""
    from sft_sweeps.config.schema import Config
    from sft_sweeps.ranges import CHECK, OneOf

    *path, last = key.split(".")
    settings: Any = Config()
    for part in path:
        settings = _below(settings, part)
    field = next((one for one in fields(settings) if one.name == last), None) if is_dataclass(settings) else None
    if field is None:
        return []
    check = field.metadata.get(CHECK)
    valid = check.valid() if isinstance(check, OneOf) else ()
    return ["true", "false"] if field.type is bool else list(map(str, valid))


def _below(settings: Any, part: str) -> Any:
    """What a name leads to; below names that users give (data.sources.math), the settings that each has."""
    if not is_dataclass(settings):
        return settings[-1] if isinstance(settings, tuple) else None  # the arguments of dict[str, SourceConfig]
    field = next((one for one in fields(settings) if one.name == part), None)
    inner = get_args(field.type) if field else ()
    return inner if inner and is_dataclass(inner[-1]) else getattr(settings, part, None)
