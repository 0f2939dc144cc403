"""What the tests with input at random share: how much of it, and a launch within this process."""

import contextlib
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from sft_sweeps.config import command_line
from sft_sweeps.launch import run

CONF = Path(__file__).resolve().parents[1] / "conf"
COUNT = int(os.environ.get("FUZZ", "150"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))


@dataclass(frozen=True)
class Answer:
    """What a command gave: its exit status, and what it printed."""

    status: object
    out: str
    error: str


def answer(arguments: list[str], folder: Path) -> Answer:
    """What `launch.py` gives; it only plans, and into a folder, unless the arguments say otherwise."""
    given = ["action=plan", "plan.measure=false", f"output_dir={folder}", "tracking=none", "cluster=local", *arguments]
    GlobalHydra.instance().clear()
    return told(lambda: command_line.main(run.run, given, "launch.py", CONF))


def told(work: Callable[[], object]) -> Answer:
    """What a command gives that runs in this process; what it raises is raised, but for the end of a program."""
    out, error, arguments = io.StringIO(), io.StringIO(), sys.argv
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            status = work()
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = arguments
    return Answer(status, out.getvalue(), error.getvalue())
