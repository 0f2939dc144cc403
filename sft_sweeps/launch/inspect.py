"""`action=inspect`: what a model would be given, supervised tokens marked, with statistics of each source.

inspect.limit=N            the first N examples of each source's seeded order (0: statistics only)
inspect.output=FILE.jsonl  rows {"source", "id", "input_ids", "supervised"}; `supervised` are positions
inspect.input=FILE.jsonl   the rows of a file in place of the sources; one row out for each row in, a dropped one
                           with "dropped" and the reason, one that FastChat masks wholly with "masked"
inspect.benchmarks=FOLDER  test items that are looked for in the sources
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from sft_sweeps.config.schema import Config
from sft_sweeps.data.contamination import Items, files_in
from sft_sweeps.data.encode import prepare
from sft_sweeps.data.encode.encoded_source import EncodedKey, EncodedSource
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.read import RowResult, reader_of, stream, unsplit
from sft_sweeps.data.row_filter import RowFilter
from sft_sweeps.errors import RequestError
from sft_sweeps.files.rows import read_rows
from sft_sweeps.jobs.encoding import tokenizer_of
from sft_sweeps.plan.request import Request
from sft_sweeps.spec import Component, Source
from sft_sweeps.store.store import Store

SHOWN = 1500  # characters of an example at either end
BAR = 24  # characters of the longest bar
Write = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Inspection:
    """One tokenizer and recipe to look through, and where what is seen goes."""

    request: Request
    tokenizer: Path
    store: Store
    config: Config
    write: Write
    out: Console

    def encoder(self, bug_compatible: bool) -> Encoder:
        """As training has it."""
        recipe = self.request.recipe
        return Encoder(self.tokenizer, recipe.template, recipe.max_length, bug_compatible=bug_compatible)

    def shelf(self, source: Source) -> EncodedSource:
        """The encoded source, made with a bar of progress where it is not there yet."""
        if source.rows_from != "generated" and not Path(source.path).is_file():
            raise RequestError(missing(source))
        recipe = self.request.recipe
        wish = prepare.wanted(source, self.tokenizer, recipe.template, recipe.max_length)
        return fetched(wish, self.tokenizer, self.store, self.out)


def run(requests: Sequence[Request], config: Config, out: Console) -> int:
    """Inspect the sources of the points, or the rows of `inspect.input`; the exit status."""
    store = Store(config.output_dir, config.store.read_from)
    seen = set()
    with _output(config.inspect.output) as write:
        for request in requests:
            with tokenizer_of(request.model, store) as folder:
                look = Inspection(request, folder, store, config, write, out)
                if config.inspect.input:
                    _rows(Path(config.inspect.input), look)
                    return 0
                for component in request.components:
                    key = (component.source, component.seed, request.model.id, request.recipe.template)
                    if key not in seen:
                        seen.add(key)
                        _source(component, look)
    return 0


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[Write]:
    if path is None:
        yield lambda _: None
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            yield _writer(file)
    except OSError as error:
        raise RequestError(f"inspect.output={path} cannot be written: {error.strerror}") from error


def _writer(file: IO[str]) -> Write:
    def write(row: dict[str, Any]) -> None:
        file.write(json.dumps(row) + "\n")

    return write


def row_of(encoded: Encoded, name: str, row_id: Any) -> dict[str, Any]:
    """An encoded example as a row of `inspect.output`."""
    row = {
        "source": name,
        "id": row_id,
        "input_ids": encoded.input_ids.tolist(),
        "supervised": encoded.supervised.nonzero()[0].tolist(),
        "truncated": encoded.truncated,
    }
    return {**row, "masked": encoded.reason} if encoded.reason else row


def _rows(path: Path, look: Inspection) -> None:
    """The rows of a file through the code that encodes a source, one by one and without a source's rules."""
    name, limit = path.name.partition(".")[0], look.config.inspect.limit
    encoder = look.encoder(look.config.data.bug_compatible)
    source = Source(name, "", "auto", "", "general", 0, bug_compatible=encoder.bug_compatible)
    reader, rows = reader_of(read_rows(path, name), source, path)
    counts = {"encoded": 0, "dropped": 0}
    for index, row in enumerate(rows):
        row_id = row.value.get("id", index) if isinstance(row.value, dict) else index
        encoded, reason = _one(reader.result(row, index, unsplit), encoder)
        if encoded is None:
            counts["dropped"] += 1
            look.write({"source": name, "id": row_id, "dropped": reason})
            continue
        counts["encoded"] += 1
        look.write(row_of(encoded, name, row_id))
        if counts["encoded"] <= limit:
            _show(encoded, str(row_id), encoder, look.out)
    look.out.print(f"{path}: {counts['encoded']:,} rows encoded, {counts['dropped']:,} dropped")


def _one(result: RowResult, encoder: Encoder) -> tuple[Encoded | None, str]:
    for example in result.examples:
        encoded = next(encoder.encoded([example]))
        return (encoded, "") if encoder.kept(encoded) else (None, encoded.reason)
    return None, result.dropped[0].reason


def _source(component: Component, look: Inspection) -> None:
    source, config = component.source, look.config
    shelf = look.shelf(source)
    statistics(shelf, look.out)
    if source.bug_compatible:
        _differences(source, shelf, look)
    encoder = look.encoder(source.bug_compatible)
    places = shelf.order(component.seed)
    shown = (one for place in places if encoder.kept(one := shelf.encoded(place)))
    for encoded in islice(shown, config.inspect.limit):
        look.write(row_of(encoded, source.name, encoded.id))
        _show(encoded, encoded.id, encoder, look.out)
    benchmarks = Path(config.inspect.benchmarks or Path(config.data.folder or look.store.root / "data") / "benchmarks")
    _contamination(source, benchmarks, look.out)


def missing(source: Source) -> str:
    """What to do about a source whose file is not there."""
    key = f"data.sources.{source.slot}"
    return (
        f"{key}: source {source.name} is not at {source.path}. Fetch it with action=prepare, place the file there, or "
        f"set {key}.path=FILE."
    )


def fetched(wish: EncodedKey, tokenizer_folder: Path, store: Store, out: Console) -> EncodedSource:
    """An encoded source, made with a bar of progress where it is not there yet."""
    if found := wish.find(store.roots):
        return found
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(f"encoding {wish.source.name}", total=wish.source.rows or None)

        def show(rows: int) -> None:
            progress.update(task, completed=rows)

        return prepare.get(wish, tokenizer_folder, store.roots, progress=show)


def statistics(shelf: EncodedSource, out: Console) -> None:
    """What an encoded source holds, and what was left out of it and why."""
    account = shelf.account
    table = Table(title=f"{shelf.name}  ({account['content'][:24]}, {account['template']})", title_justify="left")
    for name in ("rows", "examples", "tokens", "supervised", "mean", "longest", "truncated", "masked", "dropped"):
        table.add_column(name, justify="right")
    count, tokens = len(shelf), account["tokens"]
    masked, dropped = sum(account["masked"].values()), sum(account["dropped"].values())
    table.add_row(
        *(f"{value:,}" for value in (account["rows"], count, tokens)),
        f"{account['supervised_tokens']:,} ({account['supervised_tokens'] / max(tokens, 1):.0%})",
        f"{tokens / max(count, 1):.0f}",
        *(f"{value:,}" for value in (account["longest"], account["truncated"], masked, dropped)),
    )
    out.print(table)
    for what, reasons in (("dropped", account["dropped"]), ("masked wholly", account["masked"])):
        for reason, number in reasons.items():
            sample = account["samples"].get(reason, "")
            out.print(f"  {what}: {number:,} {reason}" + (f", e.g. {escape(sample[:100])}" if sample else ""))
    if account["stand_in_for_tags"]:
        out.print("  [yellow]note[/] words and code fences stand in for a tagger's tags here (clean.tags_file)")
    most = max(account["histogram"].values(), default=0)
    for length, number in account["histogram"].items():
        if number:
            bar = "█" * max(1, round(BAR * number / most))
            out.print(f"  up to {int(length):>5,} tokens {number:>8,} {bar}", highlight=False)


def _differences(source: Source, faithful: EncodedSource, look: Inspection) -> None:
    """What `bug_compatible` costs, beside the sound encoding."""
    sound = look.shelf(replace(source, bug_compatible=False))
    lost = sound.account["supervised_tokens"] - faithful.account["supervised_tokens"]
    masked = sum(faithful.account["masked"].values())
    look.out.print(
        f"  bug_compatible: {masked:,} of {len(faithful):,} examples are masked wholly; without it there are "
        f"{len(sound):,} examples and {lost:+,} supervised tokens"
    )


def _show(encoded: Encoded, title: str, encoder: Encoder, out: Console) -> None:
    """An example as text; what is supervised is green and in ⟦ ⟧."""
    learnt = int(encoded.supervised.sum())
    cut = ", truncated" if encoded.truncated else ""
    why = f", nothing is learnt: {encoded.reason}" if encoded.reason else ""
    out.rule(f"{escape(title)}: {len(encoded.input_ids):,} tokens, {learnt:,} supervised{cut}{why}", align="left")
    text = Text()
    for part, supervised in marked(encoded, encoder):
        short = part if len(part) <= 2 * SHOWN else f"{part[:SHOWN]} … {part[-SHOWN:]}"
        text.append(f"⟦{short}⟧" if supervised else short, style="bold green" if supervised else "dim")
    out.print(text, soft_wrap=True)


def marked(encoded: Encoded, encoder: Encoder) -> Iterator[tuple[str, bool]]:
    """The text in runs, each with whether it is supervised."""
    ids, flags = encoded.input_ids.tolist(), encoded.supervised.tolist()
    edges = [0, *(place for place in range(1, len(ids)) if flags[place] != flags[place - 1]), len(ids)]
    before = ""
    for start, stop in pairwise(edges):
        text = encoder.text(ids[:stop])
        yield text[len(before) :], flags[start]
        before = text


def _contamination(source: Source, folder: Path, out: Console) -> None:
    if source.rows_from == "generated":
        return
    if not (files := files_in(folder)):
        out.print(f"  contamination: not checked, no test items in {folder} (inspect.benchmarks=FOLDER)")
        return
    items = Items(files)
    for example in stream(Path(source.path), source, RowFilter()):
        items.check(example)
    for name, hits in items.hits.items():
        out.print(f"  contamination: {len(hits.found):,} of the {hits.items:,} items of {name} have words in common")
        for item, rows in list(hits.found.items())[:3]:
            out.print(f"    {escape(item)}: {', '.join(rows[:3])}" + (" ..." if len(rows) > 3 else ""))
