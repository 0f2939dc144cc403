"""`sft-sweeps source add FILE`: what a file of rows is, and the YAML that makes a source of it."""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from sft_sweeps.commands.command import Command, add_json, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import LAUNCH, console, say

if TYPE_CHECKING:
    from sft_sweeps.data.look import Look

SCHEMA = 1
PAPERS = ("math", "code", "general")  # slots of data=mixed
SAMPLE = 110  # characters of a dropped row that is shown


@dataclass(frozen=True)
class Entry:
    """What the YAML says of the source."""

    name: str
    ability: str
    role: str
    path: str
    rows: int
    content: str
    format: str
    mean_tokens: float
    max_bad_fraction: float


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    text = "look at a file of rows, and write the YAML that makes a source of it"
    add = commands.add_parser("add", help=text, description=f"{text[:1].upper()}{text[1:]}.")
    add.add_argument("file", type=Path, metavar="FILE", help="JSON lines, a JSON array, CSV or Parquet; packed or not")
    add.add_argument("--name", help="of the source (default: the file's)")
    add.add_argument("--ability", help="that it teaches (default: math, code or general, by its rows)")
    add.add_argument("--role", choices=["specialized", "general"], help="default: general for the ability general")
    add.add_argument("--format", default="auto", help="of its rows (default: what most rows have)")
    share = "the share of its rows that may be unusable (default: %(default)s)"
    add.add_argument("--max-bad-fraction", type=float, default=0.05, metavar="SHARE", help=share)
    add.add_argument("--conf", type=Path, default=Path("conf"), metavar="DIR", help="where to write (%(default)s)")
    add.add_argument("--dry-run", action="store_true", help="look, and write nothing")
    add_json(add)


def _run(options: argparse.Namespace) -> int:
    entry, seen = described(options)
    files = texts(entry, options.conf)
    for path in files:
        if path.exists():
            raise RequestError(f"{path} is there already; remove it, or give another name: --name NAME")
    if not options.dry_run:
        _write(files)
    if options.json:
        print_json(SCHEMA, to_json(entry, seen, [] if options.dry_run else list(files), uses(entry, options.conf)))
    else:
        show(entry, seen, console())
        print(*(f"{'would write' if options.dry_run else 'written'}: {path}" for path in files), sep="\n")
        print("use it:", *(f"  {line}" for line in uses(entry, options.conf)), sep="\n")
    return 0


def described(options: argparse.Namespace) -> tuple[Entry, "Look"]:
    """The source that a file makes, and what was seen in it; RequestError where it makes none."""
    from sft_sweeps.data.look import look
    from sft_sweeps.spec.data import Cleaning, Source, TurnRules

    path: Path = options.file
    if not path.is_file():
        raise RequestError(f"there is no file {path}; name one of rows: JSON lines, a JSON array, CSV or Parquet")
    name = options.name or re.sub(r"[^a-z0-9_.-]+", "_", path.name.partition(".")[0].lower()).strip("_.-")[:40]
    _check(name, options)
    source = Source(
        name,
        content="",
        format=options.format,
        ability="",
        role="general",
        rows=0,
        max_bad_fraction=options.max_bad_fraction,
        cleaning=Cleaning(),
        turns=TurnRules(system="render", tools="refuse"),
    )
    with console(stderr=True).status(f"reading {path}"):
        seen = look(path, source, "--max-bad-fraction")
    ability = options.ability or seen.ability
    role = options.role or ("general" if ability == "general" else "specialized")
    return Entry(
        name=name,
        ability=ability,
        role=role,
        path=str(path.resolve()),
        rows=seen.tally.rows,
        content=seen.content,
        format=options.format,
        mean_tokens=seen.mean_tokens,
        max_bad_fraction=options.max_bad_fraction,
    ), seen


def _check(name: str, options: argparse.Namespace) -> None:
    """RequestError for a name that is none, or that is taken."""
    from sft_sweeps.config import choices, site
    from sft_sweeps.ranges import fits_folder_name

    words = {"--name": name, **({"--ability": options.ability} if options.ability is not None else {})}
    if problem := next((text for key, value in words.items() for text in fits_folder_name(key, value)), ""):
        raise RequestError(problem)
    if not 0 <= options.max_bad_fraction <= 1:
        raise RequestError(f"--max-bad-fraction {options.max_bad_fraction:g} is no share; write it like 0.05")
    installed = choices.groups([site.CONF]) if site.CONF.resolve() != options.conf.resolve() else {}
    for group, what in (("source", "a source that is"), ("data", "data that are")):
        if name in installed.get(group, []):  # a file of the same name would be taken in its place
            raise RequestError(f"{name} is the name of {what} installed; give another: --name NAME")


def texts(entry: Entry, conf: Path) -> dict[Path, str]:
    """The files to write: the source, and data that are it alone."""
    return {conf / "source" / f"{entry.name}.yaml": _source(entry), conf / "data" / f"{entry.name}.yaml": _data(entry)}


def _source(entry: Entry) -> str:
    lines = [f"# {Path(entry.path).name}, as `sft-sweeps source add` found it: change what you like."]
    for key, value in asdict(entry).items():
        lines.append(f"{key}: {_scalar(value)}{NOTES.get(key, '')}")
    return "\n".join(lines) + "\n"


NOTES = {
    "content": "  # the pin",
    "mean_tokens": "  # of an example, guessed from its characters",
}


def _scalar(value: object) -> str:
    """A value as YAML: texts as JSON, which YAML reads."""
    return json.dumps(value, ensure_ascii=False)


def _data(entry: Entry) -> str:
    return f"""\
# {entry.name} alone.
defaults:
  - /source@sources.{entry.ability}: {entry.name}
fraction: "1"
fractions: {{{entry.ability}: null}}
seed: 0
heldout: 0
folder: null
"""


def _write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise RequestError(
                f"{path} cannot be written ({error.strerror}); name another folder: --conf DIR"
            ) from error


def uses(entry: Entry, conf: Path) -> list[str]:
    """What to type with the source: it alone, and among the paper's."""
    launch = LAUNCH if conf == Path("conf") else f"{LAUNCH} --config-dir {shlex.quote(str(conf))}"
    slot = f"source@data.sources.{entry.ability}={entry.name}"
    place = slot if entry.ability in PAPERS else f"+{slot}"
    return [f"{launch} data={entry.name} action=plan", f"{launch} data=mixed {place} action=plan"]


def show(entry: Entry, seen: "Look", out: Console) -> None:
    """What was seen, in lines."""
    for line in _lines(entry, seen):
        say(out, escape(line))


def _lines(entry: Entry, seen: "Look") -> Iterator[str]:
    from sft_sweeps.data.key_uses import lines as key_lines

    tally = seen.tally
    yield f"{entry.path}: {tally.rows:,} rows, format {seen.format}"
    rounds = f"{seen.rounds:,} rounds of prompt and answer"
    yield f"  {tally.examples:,} examples can be used: {rounds}, about {seen.mean_tokens:.0f} tokens an example"
    for reason, count in sorted(tally.dropped.items(), key=lambda item: (-item[1], item[0])):
        yield f"  dropped: {count:,} {reason}, e.g. {tally.samples[reason][:SAMPLE]}"
    if tally.dropped_turns:
        turns = ", ".join(f"{count:,} {reason}" for reason, count in tally.dropped_turns.most_common())
        yield f"  turns: {tally.turns:,}, of which are dropped: {turns}"
    for line in key_lines(tally.keys):
        yield f"  {line}"
    shares = ", ".join(
        f"{seen.signs[name] / max(seen.looked_at, 1):.0%} have signs of {name}" for name in ("code", "math")
    )
    yield f"  of its first {seen.looked_at:,} examples {shares}"
    yield f"  source {entry.name}, ability {entry.ability}, role {entry.role}"


def to_json(entry: Entry, seen: "Look", written: list[Path], use: list[str]) -> dict[str, Any]:
    """What `--json` prints."""
    tally = seen.tally
    return {
        **asdict(entry),
        "format": seen.format,
        "examples": tally.examples,
        "rounds": seen.rounds,
        "dropped": dict(tally.dropped),
        "turns": tally.turns,
        "dropped_turns": dict(tally.dropped_turns),
        "ignored_keys": dict(tally.ignored),
        "keys": tally.keys,
        "signs": {name: seen.signs[name] for name in ("code", "math")},
        "signs_of": seen.looked_at,
        "written": list(map(str, written)),
        "use": use,
    }


ABOUT = """\
The rows are read by the code that encodes them for training, so what is dropped here, and why, is dropped there. Two
files are written, conf/source/NAME.yaml and conf/data/NAME.yaml, which is the source alone; nothing that is there is
overwritten. The ability is a proposal, by what programs and calculations look like: type another with --ability."""
COMMAND = Command(
    "source",
    "make a source of a file of yours: what it holds, what is dropped, its YAML",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps source add chats.jsonl --dry-run  # look at it, and write nothing",
        "sft-sweeps source add chats.jsonl --name talks --ability chat",
    ),
    topic="start",
)
