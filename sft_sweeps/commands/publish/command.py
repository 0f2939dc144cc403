"""`sft-sweeps publish STAGE|RUN|SWEEP --out DIR`: finished models as folders with cards, and on the hub."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import console, say, size, writing

SCHEMA = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    which = "the beginning of a stage's id, a label of a stage or run, or part of a sweep's name"
    parser.add_argument("what", metavar="STAGE|RUN|SWEEP", help=which)
    out = "the folder; of a sweep one in it for each run"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=out)
    parser.add_argument("--best", metavar="BENCHMARK", default="", help="of a sweep, only the run that is best on it")
    parser.add_argument("--copy", action="store_true", help="copy weights that could be hard links to the store's")
    push = "also make it a repository of the Hugging Face hub, a private one; of a sweep one for each, OWNER/NAME-RUN"
    parser.add_argument("--push", metavar="OWNER/NAME", default="", help=push)
    parser.add_argument("--public", action="store_true", help="with --push: a new repository is public")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.commands.publish import hub, publish
    from sft_sweeps.commands.publish.chosen import choose

    target = Path(os.path.abspath(options.out))
    if options.push:
        hub.check_name(options.push)
    elif options.public:
        raise RequestError("--public says how a repository is made; name it too: --push OWNER/NAME")
    choice = choose(Path(options.output_dir), options.what, options.best)
    how = publish.How(link=not options.copy, repository=options.push, public=options.public)
    with writing(target):
        found = publish.all_of(choice, target, how) if choice.sweep else publish.one(choice.models[0], target, how)
    if options.json:
        print_json(SCHEMA, found)
    else:
        _show(found, console())
    return 1 if found["left_out"] else 0


def _show(found: Mapping[str, Sequence[Mapping[str, Any]]], out: Console) -> None:
    for one in found["published"]:
        linked = f", {size(one['linked_bytes'])} of it shared with the store" if one["linked_bytes"] else ""
        say(out, f"[bold]{escape(one['label'])}[/]  {one['folder']}: {size(one['bytes'])}{linked}")
        for name, score in one["scores"].items():
            say(out, escape(f"    {name}: {score}"))
        if one["repository"]:
            say(out, f"    pushed: {one['repository']}")
    for one in found["left_out"]:
        say(out, f"[yellow]left out[/]  {escape(one['why'])}")


COMMAND = Command(
    "publish",
    "a finished model as a folder with a card that says what it is, and on the hub",
    _run,
    _add_arguments,
    about="""The card says what the model was made of, how it scored, with what it is served and how it is made again. A
sweep is published with a folder for each of its runs and an index; runs that are not finished are left out (exit status
1). Weights are hard links to the store's where both lie on one file system. Typed again, it brings the card up to date;
a folder that holds anything else is left alone.""",
    examples=(
        'sft-sweeps publish "mini dmt k=1/4" --out published',
        "sft-sweeps publish quickstart --best mini_math --out best",
        "sft-sweeps publish 4adbe00e --out published --push OWNER/NAME  # needs a network: a private repository",
    ),
    topic="keep",
)
