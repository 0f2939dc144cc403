"""`sft-sweeps tag`: InsTagger's tags of conversations, which `clean.tags_file` selects by."""

import argparse
import sys
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, say_written
from sft_sweeps.errors import RequestError
from sft_sweeps.plan.engines import ENGINES


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="conversations with ids, as data.sources.*.path")
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="of OFA-Sys/InsTagger")
    parser.add_argument("--out", type=Path, required=True, metavar="TAGS.jsonl", help="file to write")
    parser.add_argument("--engine", choices=ENGINES.names, default="hf", help="default: %(default)s")
    parser.add_argument("--engine-python", default="", metavar="PYTHON", help="of the environment that has vLLM")
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="of an answer (default: %(default)s)")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.generate.tagger import Asking, tag
    from sft_sweeps.spec.evaluation import Engine

    for path, what in ((options.file, "file"), (options.model / "config.json", "model")):
        if not path.is_file():
            raise RequestError(f"there is no {path}; name the {what}")
    if options.out.exists():
        raise RequestError(f"{options.out} is there already; give another --out, or remove it")
    installed = ENGINES.get(options.engine).version(options.engine_python)
    engine = Engine(options.engine, installed.partition(".")[0], options.dtype)
    asking = Asking(engine, options.batch_size, options.max_new_tokens, options.engine_python)
    out = sys.stderr if options.json else sys.stdout
    tag(options.file, options.model, options.out, asking, lambda text: print(text, file=out, flush=True))
    say_written(options, f"data.sources.SLOT.clean.tags_file={options.out}")
    return 0


ABOUT = """\
Tags of OFA-Sys/InsTagger, which `clean.drop_tags` of a source selects by. Stopped, the same command goes on."""
COMMAND = Command(
    "tag",
    "tag the conversations of a file with InsTagger, for clean.tags_file",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps tag sharegpt.jsonl --model FOLDER --out tags.jsonl  # needs a GPU",),
    topic="tools",
)
