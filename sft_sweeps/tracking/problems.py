"""mirror.json: what went wrong in showing a stage's metrics elsewhere, for `status` and the end of a launch.

No failure of a tracker reaches the training, so it must be told in another place. The newest attempt's counts.
"""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sft_sweeps.files.json_files import read_json, write_json

FILE = "mirror.json"


def note(folder: Path, tracker: str, problem: str) -> None:
    """Write down what went wrong for the stage in `folder`; says nothing where that cannot be written either."""
    with suppress(OSError):
        write_json(folder / FILE, {"tracker": tracker, "problem": " ".join(problem.split())}, durable=False)


def text(error: Exception, secret: str = "") -> str:
    """What an error says, without a key that is in it."""
    return f"{type(error).__name__}: {error}".replace(secret or "\0", "***")


def forget(folder: Path) -> None:
    """A new attempt begins."""
    with suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)


def problem_of(folder: Path) -> str:
    """`wandb: ...`; empty where nothing went wrong."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        if noted := read_json(folder / FILE):
            return f"{noted['tracker']}: {noted['problem']}"
    return ""


def lines(problems: Mapping[str, str]) -> list[str]:
    """One line for each problem with the number of stages, of problems by the stages' labels."""
    by_problem: dict[str, list[str]] = {}
    for label, problem in problems.items():
        if problem:
            by_problem.setdefault(problem, []).append(label)
    return [
        f"the metrics of {len(labels):,} stage{'' if len(labels) == 1 else 's'} are not all shown at {problem} "
        f"({labels[0]}{', ...' if len(labels) > 1 else ''}); metrics.jsonl in each stage's folder has them"
        for problem, labels in by_problem.items()
    ]
