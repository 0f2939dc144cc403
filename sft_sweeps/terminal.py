"""What is printed on a terminal, a file or a pipe."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from sft_sweeps import PACKAGE
from sft_sweeps.errors import RequestError

COLORS = {"done": "green", "running": "cyan", "interrupted": "yellow", "failed": "red", "corrupted": "red"}
LAUNCH = "python launch.py" if (PACKAGE.parent / "launch.py").is_file() else "sft-sweeps launch"  # to type here
PIPE_WIDTH = 160  # of text that goes to a file or a pipe


def console(stderr: bool = False) -> Console:
    """A console that does not squeeze tables when its output is no terminal."""
    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=PIPE_WIDTH)


def duration(seconds: float) -> str:
    """A length of time as people say it: 40 s, 12 min, 3.5 h, 2.1 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} days"


def say(out: Console, text: str, **options: Any) -> None:
    """A line of prose: wrapped at words on a terminal, left whole in a file or a pipe."""
    out.print(text, soft_wrap=not out.is_terminal, **options)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """RequestError where files cannot be written."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"{folder} cannot be written ({error.strerror}); choose another: --out FOLDER") from error
