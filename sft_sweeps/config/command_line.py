"""The command line of a sweep, which `launch.py` in a checkout and `sft-sweeps launch` from anywhere share.

A configuration file is looked for in `--config-dir`, then in conf/ of the working folder, then in this project's conf/:
a user adds a study, or has a conf/local/default.yaml, without touching what is installed.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra._internal.utils import get_args_parser

from sft_sweeps.config.grid import Point
from sft_sweeps.config.schema import register
from sft_sweeps.config.site import CONF
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import say_error

UNTIL_DONE, UNTIL_DONE_KEY = "--until-done", "cluster.until_done=true"  # the one option that is ours and not Hydra's
# What SearchUserFolders (hydra_plugins) puts before conf/: Hydra makes it without arguments.
user_folders: list[Path] = []


def main(run: Callable[[list[Point]], int], arguments: Sequence[str], program: str, conf: Path = CONF) -> int:
    """Compose the points of a sweep and give all of them to `run` at once; its exit status.

    Where Hydra refuses the arguments or only shows something (`--help`), it exits by itself.
    """
    try:
        register()
    except RequestError as error:  # what another distribution adds to the schema
        say_error(error)
        return error.exit_status
    arguments = [UNTIL_DONE_KEY if text == UNTIL_DONE else text for text in arguments]
    sys.argv = [program, *arguments]  # Hydra reads its arguments there and nowhere else
    user_folders[:] = _user_folders(arguments, conf)
    statuses = []

    def composed(points: list[Point]) -> None:
        """Called once, with every point of the sweep (hydra_plugins/sft_sweeps_sweeper)."""
        if not isinstance(points, list):
            text = "hydra.mode and hydra/sweeper cannot be set: they belong to launch.py; leave them out"
            say_error(text)
            sys.exit(2)
        statuses.append(run(points))

    try:
        hydra.main(version_base="1.3", config_path=str(conf), config_name="config")(composed)()
    except KeyboardInterrupt:
        print("interrupted before anything was started", file=sys.stderr)
        return 1
    return statuses[0] if statuses else 0


def _user_folders(arguments: Sequence[str], conf: Path) -> list[Path]:
    """The folders that are searched before `conf`, first to last; one that is absent is Hydra's to complain about."""
    options, _ = get_args_parser().parse_known_args(arguments)
    folders = [Path(options.config_dir)] if options.config_dir else []
    folders.append(Path("conf"))
    return [folder.resolve() for folder in folders if folder.is_dir() and not folder.samefile(conf)]
