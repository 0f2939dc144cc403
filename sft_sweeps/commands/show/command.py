"""`sft-sweeps show STAGE|RUN [OTHER]`: what it is, how it stands, in what it differs, what to type with it."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.show.changes import NONE
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import is_number
from sft_sweeps.spec.adapter import told
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import COLORS, console, duration, say
from sft_sweeps.tracking import metrics

FIELDS = 8  # of a difference, where no other stage was named
RUNS = 6  # that need it
RECIPE = ("epochs", "batch_size", "learning_rate", "max_length", "template", "loss_reduction", "precision", "seed")
TITLES = {
    "reproduce": "make it, or what is missing of it",
    "logs": "read what its jobs printed",
    "serve": "serve its model",
    "ask": "load its model and ask it",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    which = "the beginning of its id, or a label of a stage or run, or part of one"
    parser.add_argument("what", metavar="STAGE|RUN", help=which)
    parser.add_argument("other", nargs="?", metavar="OTHER", help="to compare it with; default: its nearest neighbours")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.commands.show.facts import SCHEMA, facts
    from sft_sweeps.commands.show.known import Catalogue

    catalogue = Catalogue(Store(options.output_dir))
    one = catalogue.find(options.what)
    other = catalogue.find(options.other) if options.other else None
    if other and other.id == one.id:
        raise RequestError(f"'{options.what}' and '{options.other}' are the same: {one.id}  {catalogue.name(one)}")
    found = facts(catalogue, one, other, options.output_dir)
    if options.json:
        print_json(SCHEMA, found)
    else:
        _show(found, console(), whole=other is not None)
    return 0


def _show(found: Mapping[str, Any], out: Console, *, whole: bool) -> None:
    color, why = COLORS.get(found["state"], "default"), f": {found['why']}" if found["why"] else ""
    say(out, f"[bold]{escape(found['label'])}[/]  {found['kind']} {found['id']}")
    say(out, f"[{color}]{found['state']}[/]{escape(why)}")
    for line in (*_what(found), *_record(found["record"]), *_scores(found), *_differences(found, whole)):
        say(out, escape(line))
    for key, command in found["commands"].items():
        say(out, f"\n[dim]# {TITLES[key]}[/]")
        out.print(escape(command), soft_wrap=True)  # whole, to be copied


def _what(found: Mapping[str, Any]) -> Iterator[str]:
    if found["runs"]:
        yield f"run       {'; '.join(found['runs'])}"
    if needed := [run for run in found["needed_by"] if run not in found["runs"]]:
        yield f"needed by {'; '.join(needed[:RUNS])}{f' and {len(needed) - RUNS} more' if len(needed) > RUNS else ''}"
    if found["sweeps"]:
        yield f"sweep     {', '.join(found['sweeps'])}"
    if parents := found["identity"].get("parents"):
        labels = {link["id"]: link["label"] for link in found["chain"]}
        parts = (f"{part['weight']} of {labels.get(part['stage'], '')} ({part['stage']})" for part in parents)
        yield f"average   {', '.join(parts)}"
    elif len(found["chain"]) > 1:
        yield "chain     " + " -> ".join(f"{link['label']} ({link['id']})" for link in found["chain"][:-1]) + " -> this"
    for number, part in enumerate(found["mixture"]):
        yield f"{'' if number else 'mixture':<10}{_part(part)}"
    if recipe := found["recipe"]:
        yield "recipe    " + ", ".join(f"{key} {recipe[key]}" for key in RECIPE if key in recipe)
    if adapter := recipe.get("adapter"):
        yield f"adapter   {told(adapter)}"
    yield f"folder    {found['folder']}"


def _part(part: Mapping[str, Any]) -> str:
    """`general 1/16 of mini_general: 143 examples`."""
    share = "all" if part["fraction"] == "1" else part["fraction"]
    planned = " planned" if part["planned"] else ""
    count = "" if part["examples"] is None else f": {part['examples']:,} examples{planned}"
    notes = [f"{part['truncated']:,} cut at the end"] if part.get("truncated") else []
    notes += [f"{sum(part['masked'].values()):,} with nothing to learn"] if part.get("masked") else []
    noted = f" ({', '.join(notes)})" if notes else ""
    return f"{part['ability']} {share} of {part['source']}{count}{noted}".strip()


def _record(record: Mapping[str, Any]) -> Iterator[str]:
    if not record:
        return
    last, execution = metrics.whole(record.get("last")), record.get("execution", {})
    parts = [
        f"finished {record.get('finished', '')}",
        *([f"{last['step']:,} steps, loss {last['loss']:.3f}"] if {"step", "loss"} <= last.keys() else []),
        *([duration(record["seconds"])] if is_number(record.get("seconds")) else []),
        *([f"{record['gpu_hours']:,.2f} GPU-hours in {record['starts']} starts"] if "gpu_hours" in record else []),
        f"{record['gigabytes']:,.3f} GB",
    ]
    yield f"record    {'; '.join(parts)}"
    if execution:
        named = ("processes", "threads", "zero_stage", "device", "torch", "transformers", "deepspeed")
        yield "execution " + ", ".join(f"{key} {execution[key]}" for key in named if key in execution)


def _scores(found: Mapping[str, Any]) -> Iterator[str]:
    for number, one in enumerate(found["scores"]):
        yield f"{'' if number else 'scores':<10}{one['benchmark']}: {one['score'] or one['state']}"
    for number, one in enumerate(found["analyses"]):
        yield f"{'' if number else 'analyses':<10}{one['what']}: {one['state']}"


def _differences(found: Mapping[str, Any], whole: bool) -> Iterator[str]:
    """Field by field, this one's value first."""
    if not found["differences"]:
        yield f"\nnothing else of its kind is known here, so there is nothing that it differs from ({found['kind']})"
    for one in found["differences"]:
        run = f", run {'; '.join(one['runs'])}" if one["runs"] else ""
        fields = one["fields"]
        yield f"\ndifferences to {one['label']} ({one['id']}{run}): {_fields(len(fields))}"
        shown = fields if whole else fields[:FIELDS]
        width = max((len(change["field"]) for change in shown), default=0)
        for change in shown:
            yield f"    {change['field']:<{width}}  {change['this']}  |  {change['other']}"
        if len(shown) < len(fields):
            yield f"    ... and {len(fields) - len(shown)} more; name it as OTHER to see all"
    if any(change for one in found["differences"] for change in one["fields"]):
        yield f"    (this one's value  |  the other's; {NONE}: it has none)"


def _fields(count: int) -> str:
    return f"{count} field{'s' * (count != 1)}" if count else "none that is known"


ABOUT = """\
A stage, base model or run is named by the beginning of its id, its label, or a part of one. Differences are over the
whole chain, to OTHER or to its nearest neighbours."""
COMMAND = Command(
    "show",
    "what a stage or run is, what it differs in, what to type with it",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps show STAGE",
        "sft-sweeps show STAGE --json",
    ),
    topic="watch",
)
