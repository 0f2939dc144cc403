"""`sft-sweeps publish STAGE|RUN|SWEEP --out DIR`: finished models as folders with cards, and on the hub.

As JSON (`--json`, `"schema": 1`): `published` (`id`, `label`, `folder`, `bytes`, `linked_bytes`, `scores`,
`repository`) and `left_out` (`id`, `label`, `why`).
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, add_output_dir
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
    choice = choose(Path(options.output_dir), options.what, options.best)
    with writing(target):
        if choice.sweep is None:
            found = publish.one(choice.models[0], target, _how(options))
        else:
            found = publish.all_of(choice, target, _how(options))
    if options.json:
        print(json.dumps({"schema": SCHEMA, **found}, indent=1))
    else:
        _show(found, console())
    return 1 if found["left_out"] else 0


def _how(options: argparse.Namespace) -> Any:
    from sft_sweeps.commands.publish.publish import How

    return How(link=not options.copy, repository=options.push, public=options.public)


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


COMMAND = Command("publish", "a finished model as a folder with its card; --push: on the hub", _run, _add_arguments)
