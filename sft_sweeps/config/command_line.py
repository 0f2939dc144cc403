"""The command line of a sweep, which `launch.py` in a checkout and `sft-sweeps launch` from anywhere share.

A configuration file is looked for in `--config-dir`, then in conf/ of the working folder, then in this project's conf/:
a user adds a study, or has a conf/local/default.yaml, without touching what is installed.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from sft_sweeps import interrupts
from sft_sweeps.config import choices, hydra_errors, new_sources, own_names
from sft_sweeps.config.grid import Point
from sft_sweeps.config.schema import register
from sft_sweeps.config.site import CONF
from sft_sweeps.errors import Interrupted, RequestError, nearest, say_error

# Options that are ours and not Hydra's, and the keys that they are short for.
FLAGS = {"--until-done": "cluster.until_done=true", "--json": "plan.json=true"}
OUTPUT_DIR = "--output-dir"
# What SearchUserFolders (hydra_plugins) puts before conf/: Hydra makes it without arguments.
user_folders: list[Path] = []
LIST = re.compile(r"[\[(]")  # is in every value that is a list, or that a function makes
FULL_ERROR = "HYDRA_FULL_ERROR"  # in whose environment it is set sees tracebacks


def main(run: Callable[[list[Point]], int], arguments: Sequence[str], program: str, conf: Path = CONF) -> int:
    """Compose the points of a sweep and give all of them to `run` at once; its exit status.

    Where Hydra only shows something (`--help`), it exits by itself; what it refuses is told in one line.
    """
    try:
        with interrupts.after_imports():
            return _main(run, arguments, program, conf)
    except KeyboardInterrupt:
        print("interrupted before anything was started", file=sys.stderr)
        return Interrupted.exit_status


def _main(run: Callable[[list[Point]], int], arguments: Sequence[str], program: str, conf: Path) -> int:
    try:
        register()
    except RequestError as error:  # what another distribution adds to the schema
        say_error(error)
        return error.exit_status
    arguments = _overrides_last(list(_own_options(arguments)))
    user_folders[:] = choices.user_folders(choices.typed_config_dir(arguments), conf)
    folders = [*user_folders, conf]
    arguments = list(map(own_names.addable, new_sources.with_files(arguments, folders)))
    sys.argv = [program, *arguments]  # Hydra reads its arguments there and nowhere else
    if problem := _unknown_option(arguments) or _typed_twice(arguments, folders) or _no_name(arguments, folders):
        say_error(problem)
        return RequestError.exit_status
    statuses: list[int] = []
    begun: list[bool] = []
    own_traceback = FULL_ERROR in os.environ
    os.environ.setdefault(FULL_ERROR, "1")  # Hydra then raises what it would print over many lines

    def composed(points: list[Point]) -> None:
        """Called once, with every point of the sweep (hydra_plugins/sft_sweeps_sweeper)."""
        if not isinstance(points, list):
            text = "hydra.mode and hydra/sweeper cannot be set: they belong to launch.py; leave them out"
            say_error(text)
            sys.exit(2)
        begun.append(True)
        if not own_traceback:
            os.environ.pop(FULL_ERROR, None)  # it is not for the jobs
        statuses.append(run(points))

    try:
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(composed)()
    except hydra_errors.REFUSALS as error:
        if own_traceback or begun:
            raise
        say_error(hydra_errors.explain(error, _overrides(arguments), folders))
        return RequestError.exit_status
    finally:
        if not own_traceback:
            os.environ.pop(FULL_ERROR, None)
    return statuses[0] if statuses else 0


def _own_options(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments with keys in place of the options that are ours."""
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name == OUTPUT_DIR and (folder := value if equals else next(words, "")):
            quoted = folder.replace("\\", "\\\\").replace("'", "\\'")
            yield f"output_dir='{quoted}'"
        else:
            yield FLAGS.get(word, word)


def _overrides_last(arguments: Sequence[str]) -> list[str]:
    """Options first, wherever they stand: Hydra takes overrides on both sides of one for a mistake."""
    actions = get_args_parser()._actions
    values = {option: action.nargs for action in actions if action.nargs != 0 for option in action.option_strings}
    options, overrides, before = list[str](), list[str](), ""
    for word in arguments:
        is_value = before in values and (values[before] is None or "=" not in word)
        (options if word.startswith("-") or is_value else overrides).append(word)
        before = word
    return [*options, *overrides]


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The arguments that are no options."""
    options, _ = get_args_parser().parse_known_args(arguments)
    return list(options.overrides)


def _unknown_option(arguments: Sequence[str]) -> str:
    """What is wrong with an option that Hydra does not have; empty where there is none."""
    parser = get_args_parser()
    _, others = parser.parse_known_args(arguments)
    options = [*FLAGS, OUTPUT_DIR, *(option for action in parser._actions for option in action.option_strings)]
    return next((f"there is no option {one}{nearest(one, options)}" for one in others if one.startswith("-")), "")


def _no_name(arguments: Sequence[str], folders: Sequence[Path]) -> str:
    """What is wrong with a list of choices that is typed for a group; empty where nothing is."""
    lists = [text for text in _overrides(arguments) if LIST.search(text.partition("=")[2])]
    if not lists:
        return ""
    known, parser = choices.groups(folders), OverridesParser.create()
    for text in lists:
        with contextlib.suppress(HydraException):  # what cannot be read is told later
            override = parser.parse_override(text)
            if override.key_or_group in known and (problem := choices.no_name(override)):
                return problem
    return ""


def _typed_twice(arguments: Sequence[str], folders: Sequence[Path]) -> str:
    """What to type in place of two choices of one group, of which Hydra takes the last; empty where none is twice."""
    known, typed = choices.groups(folders), dict[str, list[str]]()
    for override in _overrides(arguments):
        key, _, value = override.lstrip("+").partition("=")
        if key in known and value not in typed.setdefault(key, []):
            typed[key].append(value)
    for key, values in typed.items():
        if len(values) > 1:
            both = f"{key}={','.join(values)}"
            return f"{key} is typed twice ({', '.join(values)}); type one of them, or sweep both: {both}"
    return ""
