"""What the tests with input at random share: how much of it, and a launch within this process."""

import contextlib
import io
import os
import sys
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra

from sft_sweeps.config import command_line
from sft_sweeps.launch import run

CONF = Path(__file__).resolve().parents[1] / "conf"
COUNT = int(os.environ.get("FUZZ", "150"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))


def answer(arguments: list[str], folder: Path) -> tuple[object, str]:
    """The exit status of a launch, and what it printed on standard error."""
    given = ["action=plan", f"output_dir={folder}", "tracking=none", "cluster=local", *arguments]
    out, error = io.StringIO(), io.StringIO()
    arguments_before = sys.argv
    GlobalHydra.instance().clear()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            return command_line.main(run.run, given, "launch.py", CONF), error.getvalue()
    except SystemExit as end:
        return end.code, error.getvalue()
    finally:
        sys.argv = arguments_before
