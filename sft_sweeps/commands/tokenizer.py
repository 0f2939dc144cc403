"""`sft-sweeps tokenizer`: a small tokenizer, trained on the texts of data files."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, say_written
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import writing


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="JSON lines, as data.sources.*.path")
    parser.add_argument("--vocab-size", type=int, default=2048, help="number of tokens (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=2000, help="rows read of each file (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.models import train_tokenizer

    if options.vocab_size < 300:
        raise RequestError(f"--vocab-size {options.vocab_size} is too small; bytes and special tokens need 300")
    if options.rows < 1:
        raise RequestError(f"--rows {options.rows} takes no row; give at least 1")
    texts = list(_texts(options.files, options.rows))
    with writing(options.out):
        train_tokenizer.save(train_tokenizer.train(texts, options.vocab_size), options.out)
    say_written(options, f"model.tokenizer={options.out}")
    return 0


def _texts(files: Sequence[Path], rows: int) -> Iterator[str]:
    """Both sides of every round of the first rows of each file."""
    from sft_sweeps.data import read

    for path in files:
        table = read.read(path, path.name, max_bad_fraction=1.0)
        if bad := sum(table.dropped.values()):
            print(f"note: {bad:,} of the {table.rows:,} rows of {path} cannot be used", file=sys.stderr)
        for example in table.examples[:rows]:
            yield from (text for sides in example.rounds for text in sides)


ABOUT = """\
The miniature's own tokenizer spells any text, in many tokens; this one fits the data that it is trained on."""
COMMAND = Command(
    "tokenizer",
    "train a small tokenizer from data files, for model=mini",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps tokenizer code_alpaca.jsonl.gz --vocab-size 600 --out words  # for model.tokenizer=words",),
    topic="tools",
)
