"""`sft-sweeps score BENCHMARK FILE.jsonl`: scores existing generations from anywhere, without a model.

Every benchmark that can be scored from a file is a command of its own, with its own options. The result has `items`, in
the file's order, and `scores`. An incomplete set is refused unless `--partial` is given.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

from rich.progress import Progress

from sft_sweeps.benchmarks.base import FileScoring
from sft_sweeps.benchmarks.judging import Grader
from sft_sweeps.benchmarks.registry import definitions
from sft_sweeps.benchmarks.scored import Row
from sft_sweeps.commands.command import Command, add_json, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import write_json
from sft_sweeps.spec.evaluation import Judge
from sft_sweeps.terminal import console

SCHEMA = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """A command for each benchmark that can be scored from a file."""
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK", dest="benchmark")
    for name, definition in definitions().items():
        if definition.from_file:
            text = (definition.from_file.__doc__ or "").partition("\n")[0]
            command = commands.add_parser(name, help=text, description=text)
            command.add_argument("file", type=Path, metavar="FILE.jsonl", help="JSON lines or an array, packed or not")
            command.add_argument(
                "--out", type=Path, required=True, metavar="OUT.json", help="items and scores, as JSON"
            )
            command.add_argument("--partial", action="store_true", help="score an incomplete set, and name it so")
            add_json(command)
            definition.command_options(command)


def run(options: argparse.Namespace) -> int:
    """Exit status 0: scored (or only estimated)."""
    if not options.out.parent.is_dir() and not getattr(options, "dry_run", False):
        raise RequestError(f"--out {options.out}: there is no folder {options.out.parent}")
    from_file = definitions()[options.benchmark].from_file
    assert from_file is not None  # else the benchmark had no command
    with redirect_stdout(sys.stderr if options.json else sys.stdout):  # what a benchmark says on the way
        result = from_file(FileScoring(options.file, options, _grader, _ProgressBar))
    if result is None:
        if options.json:
            print_json(SCHEMA, {"benchmark": options.benchmark, "dry_run": True})
        return 0
    try:
        write_json(options.out, result)
    except OSError as error:
        raise RequestError(f"--out {options.out} cannot be written ({error.strerror})") from error
    if options.json:
        print_json(SCHEMA, result)
    else:
        _show(result)
        print(f"written: {options.out}")
    return 0


def _grader(judge: Judge, replies: Path) -> Grader:
    from sft_sweeps.score.judge import JudgeClient  # httpx, which other benchmarks do not need

    return JudgeClient(judge, replies)


class _ProgressBar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, what: str) -> None:
        out = console(stderr=True)
        self.progress = Progress(console=out, transient=True, disable=not out.is_terminal)
        self.task = self.progress.add_task(what, total=None)

    def __enter__(self) -> Callable[[int], None]:
        self.progress.start()
        return lambda done: self.progress.update(self.task, completed=done)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()


def _show(result: Row) -> None:
    if result["partial"]:
        print(f"PARTIAL: not all {result['total']:,} items of {result['benchmark']} are here; this is not its score")
    for name, value in result["scores"].items():
        if isinstance(value, dict) and "value" in value:
            share = f" ({value['k']}/{value['n']})" if value.get("k") is not None else ""
            print(f"{name:24} {value['value']:.4f}{share} [{value['low']:.4f}, {value['high']:.4f}]")
        elif isinstance(value, int | float) or value is None:
            print(f"{name:24} {'none: too many judgments are missing' if value is None and name == 'score' else value}")


ABOUT = """\
The answers may come from anywhere. An incomplete set is refused unless --partial is given. OUT has items, in the file's
order, and scores: docs/evaluation.md."""
COMMAND = Command(
    "score",
    "score existing generations, without a model",
    run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps score gsm8k answers.jsonl --out out.json --partial",
        "sft-sweeps score humaneval --help  # a benchmark's own options",
    ),
    topic="results",
)
