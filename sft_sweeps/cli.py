"""`sft-sweeps`: what came of a sweep. (`launch.py` starts one.)"""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sft_sweeps import __version__
from sft_sweeps.errors import RequestError, SweepError
from sft_sweeps.show import console
from sft_sweeps.store import Store
from sft_sweeps.sweeps import find


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed, 2 the request was wrong."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        status = command(options)
        sys.stdout.flush()
        return status
    except SweepError as error:
        print(f"error {error}", file=sys.stderr)
        return error.exit_status
    except (BrokenPipeError, SystemExit):  # `sft-sweeps status | head`; rich makes the second of the first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at exit
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sft-sweeps", description="What came of a sweep: its state and its scores.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, function, text in (
        ("status", _status, "every stage of a sweep: state, step, loss, time left, why"),
        ("report", _report, "the table of scores; writes results.json and results.md"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=function)
        command.add_argument("sweep", nargs="?", help="part of a sweep's name (default: the newest)")
        command.add_argument("--output-dir", default="multirun_outputs", help="the store (default: %(default)s)")
        command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--out", help="folder for the files (default: report/ in the sweep's folder)")
    tokenizer = commands.add_parser("tokenizer", help="train a small tokenizer from data files, for model=mini")
    tokenizer.set_defaults(command=_tokenizer)
    tokenizer.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON lines, as data.sources.*.path")
    tokenizer.add_argument("--vocab-size", type=int, default=2048, help="number of tokens (default: %(default)s)")
    tokenizer.add_argument("--rows", type=int, default=2000, help="rows read of each file (default: %(default)s)")
    tokenizer.add_argument("--out", type=Path, required=True, help="folder to write")
    return parser


def _status(options: argparse.Namespace) -> int:
    from sft_sweeps import status

    store = Store(options.output_dir)
    sweep = find(store, options.sweep)
    found = status.status(sweep.plan(), store, sweep.name)
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        status.show(found, console())
    return 0


def _report(options: argparse.Namespace) -> int:
    from sft_sweeps.report import tables
    from sft_sweeps.report.collect import collect, to_json

    store = Store(options.output_dir)
    sweep = find(store, options.sweep)
    results = collect(sweep.plan(), store, sweep.name, sweep.question)
    folder = Path(options.out) if options.out else sweep.folder / "report"
    with _writing(folder):
        written = tables.write(results, folder)
    if options.json:
        print(json.dumps(to_json(results), indent=1))
    else:
        tables.show(results, console())
        print(f"written: {', '.join(map(str, written))}")
    return 0


def _tokenizer(options: argparse.Namespace) -> int:
    from sft_sweeps.data import read, tokenizer

    if options.vocab_size < 300:
        raise RequestError(f"--vocab-size {options.vocab_size} is too small; bytes and special tokens need 300")
    if options.rows < 1:
        raise RequestError(f"--rows {options.rows} takes no row; give at least 1")
    texts: list[str] = []
    for path in options.files:
        table = read.read(path, path.name, max_bad_fraction=1.0)
        if bad := sum(table.dropped.values()):
            print(f"note: {bad:,} of the {table.rows:,} rows of {path} cannot be used", file=sys.stderr)
        for example in table.examples[: options.rows]:
            texts += [text for sides in example.rounds for text in sides]
    with _writing(options.out):
        tokenizer.save(tokenizer.train(texts, options.vocab_size), options.out)
    print(f"written: {options.out}; use it with model.tokenizer={options.out}")
    return 0


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """RequestError where files cannot be written."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"{folder} cannot be written ({error.strerror}); choose another: --out FOLDER") from error


if __name__ == "__main__":
    sys.exit(main())
