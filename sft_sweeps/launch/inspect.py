"""`action=inspect`: what a model would be given, supervised tokens marked, with statistics of each source.

inspect.limit=N            the first N examples of each source's seeded order (0: statistics only)
inspect.output=FILE.jsonl  rows {"source", "id", "input_ids", "supervised"}; `supervised` are positions
inspect.input=FILE.jsonl   the rows of a file in place of the sources; one row out for each row in, a dropped one
                           with "dropped" and the reason, one that FastChat masks wholly with "masked"
inspect.benchmarks=FOLDER  test items that are looked for in the sources
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from sft_sweeps.config.resolve_model import padding_notes
from sft_sweeps.config.schema import Config
from sft_sweeps.data import key_uses
from sft_sweeps.data.contamination import Items, files_in
from sft_sweeps.data.encode import prepare
from sft_sweeps.data.encode.encoded_source import EncodedKey, EncodedSource
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.read import reader_of, stream
from sft_sweeps.data.row_filter import RowFilter
from sft_sweeps.data.row_reader import RowResult, unsplit
from sft_sweeps.errors import RequestError, visible
from sft_sweeps.files.rows import read_rows
from sft_sweeps.jobs.encoding import tokenizer_of
from sft_sweeps.plan.request import Request
from sft_sweeps.spec.data import Cleaning, Component, Source, TurnRules
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import say

SHOWN = 1500  # characters of an example at either end
BAR = 24  # characters of the longest bar
LINE_SECONDS = 15.0  # between two lines about encoding, where there is no terminal
Write = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Inspection:
    """A point's tokenizer and recipe to encode with, and where what is seen goes."""

    request: Request
    tokenizer: Path  # a folder
    store: Store
    config: Config
    write: Write
    out: Console

    def encoder(self, bug_compatible: bool) -> Encoder:
        """The encoder that training uses for this model, template and length."""
        recipe = self.request.recipe
        return Encoder(self.tokenizer, recipe.template, recipe.max_length, bug_compatible=bug_compatible)

    def encoded(self, source: Source) -> EncodedSource:
        """The encoded source, made where the store lacks it."""
        if source.rows_from != "generated" and not Path(source.path).is_file():
            raise RequestError(_absent(source))
        recipe = self.request.recipe
        key = prepare.encoded_key(source, self.tokenizer, recipe.template, recipe.max_length)
        return encode_with_progress(key, self.tokenizer, self.store, self.out)


def run(requests: Sequence[Request], config: Config, out: Console) -> int:
    """Inspect the sources of the points, or the rows of `inspect.input`; the exit status."""
    store = Store(config.output_dir, config.store.read_from)
    seen = set()
    for note in dict.fromkeys(note for one in requests for note in padding_notes(one.model, one.recipe)):
        say(out, f"[yellow]note[/] {escape(note)}")
    with _output(config.inspect.output) as write:
        for request in requests:
            with tokenizer_of(request.model, store) as folder:
                inspection = Inspection(request, folder, store, config, write, out)
                if config.inspect.input:
                    _inspect_rows(Path(config.inspect.input), inspection)
                    return 0
                for component in request.components:
                    key = (component.source, component.seed, request.model.id, request.recipe.template)
                    if key not in seen:
                        seen.add(key)
                        _inspect_source(component, inspection)
    return 0


@contextlib.contextmanager
def _output(path: str | None) -> Iterator[Write]:
    """What writes a row to `inspect.output`; does nothing without one."""
    if path is None:
        yield lambda _: None
        return
    try:
        with open(path, "w", encoding="utf-8") as file:
            yield lambda row: print(json.dumps(row), file=file)
    except OSError as error:
        raise RequestError(f"inspect.output={path} cannot be written: {error.strerror}") from error


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


def _inspect_rows(path: Path, inspection: Inspection) -> None:
    """Encode the rows of a file one by one, with the code that encodes a source of the default rules."""
    name, limit = path.name.partition(".")[0], inspection.config.inspect.limit
    encoder = inspection.encoder(inspection.config.data.bug_compatible)
    rules = None if encoder.bug_compatible else Cleaning(role_break="drop")
    turns = TurnRules(system="render", tools="refuse")
    source = Source(
        name, "", "auto", "", "general", 0, cleaning=rules, bug_compatible=encoder.bug_compatible, turns=turns
    )
    reader, rows = reader_of(read_rows(path, name), source, path)
    reader = reader.for_template(encoder.takes_system, encoder.takes_tools)
    counts = {"encoded": 0, "dropped": 0}
    for index, row in enumerate(rows):
        own = row.value.get("id") if isinstance(row.value, dict) else None
        row_id = index if own is None else own
        encoded, reason = _encode_row(reader.result(row, index, unsplit, encoder.refusal), encoder)
        if encoded is None:
            counts["dropped"] += 1
            inspection.write({"source": name, "id": row_id, "dropped": reason})
            continue
        counts["encoded"] += 1
        inspection.write(row_of(encoded, name, row_id))
        if counts["encoded"] <= limit:
            _show(encoded, str(row_id), encoder, inspection.out)
    inspection.out.print(f"{path}: {counts['encoded']:,} rows encoded, {counts['dropped']:,} dropped")


def _encode_row(row: RowResult, encoder: Encoder) -> tuple[Encoded | None, str]:
    """The row's first example, or None with the reason why there is none."""
    for example in row.examples:
        encoded = next(encoder.encoded([example]))
        return (encoded, "") if encoder.kept(encoded) else (None, encoded.reason)
    return None, row.dropped[0].reason


def _inspect_source(component: Component, inspection: Inspection) -> None:
    """Statistics, what `bug_compatible` costs, the first examples of the seeded order, benchmark items in the rows."""
    source, config, out = component.source, inspection.config, inspection.out
    encoded_source = inspection.encoded(source)
    statistics(encoded_source, out)
    if source.bug_compatible:
        _cost_of_bugs(source, encoded_source, inspection)
    encoder = inspection.encoder(source.bug_compatible)
    examples = map(encoded_source.encoded, encoded_source.order(component.seed))
    for encoded in islice(filter(encoder.kept, examples), config.inspect.limit):
        inspection.write(row_of(encoded, source.name, encoded.id))
        _show(encoded, encoded.id, encoder, out)
    data = Path(config.data.folder or inspection.store.root / "data")
    _contamination(source, Path(config.inspect.benchmarks or data / "benchmarks"), out)


def _absent(source: Source) -> str:
    """What to do about a source whose file is not there."""
    key = f"data.sources.{source.slot}"
    return (
        f"{key}: source {source.name} is not at {source.path}. Fetch it with action=prepare, place the file there, or "
        f"set {key}.path=FILE."
    )


def encode_with_progress(key: EncodedKey, tokenizer_folder: Path, store: Store, out: Console) -> EncodedSource:
    """The encoded source of a key: from the store, or made with a progress bar."""
    if encoded := prepare.stored(key, store.roots):
        return encoded
    said = time.monotonic()
    with Progress(console=out, transient=True, disable=not out.is_terminal) as progress:
        task = progress.add_task(f"encoding {key.source.name}", total=key.source.rows or None)

        def show(rows: int) -> None:
            nonlocal said
            progress.update(task, completed=rows)
            if not out.is_terminal and time.monotonic() - said > LINE_SECONDS:
                said = time.monotonic()
                say(out, f"encoding {key.source.name}: {rows:,} of {max(rows, key.source.rows):,} rows")

        return prepare.get(key, tokenizer_folder, store.roots, progress=show)


def statistics(encoded: EncodedSource, out: Console) -> None:
    """What an encoded source holds, what was left out of it and why, and how long its examples are."""
    account = encoded.account
    table = Table(title=f"{encoded.name}  ({account['content'][:24]}, {account['template']})", title_justify="left")
    for name in ("rows", "examples", "tokens", "supervised", "mean", "longest", "truncated", "masked", "dropped"):
        table.add_column(name, justify="right")
    count, tokens = len(encoded), account["tokens"]
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
    for text in turns_and_keys(account):
        out.print(f"  {escape(text)}")
    if account["stand_in_for_tags"]:
        out.print("  [yellow]note[/] words and code fences stand in for a tagger's tags here (clean.tags_file)")
    _histogram(account["histogram"], out)


def turns_and_keys(account: Mapping[str, Any]) -> Iterator[str]:
    """What became of the turns of a source's rows, and what their keys are used for."""
    if account.get("file"):
        yield f"file: {account['file']}"
    if turns := account.get("turns"):
        parts = [f"{turns['trained']:,} trained", f"{turns['prompt']:,} given as prompts"]
        parts += [f"{number:,} cut ({reason})" for reason, number in turns["cut"].items()]
        parts += [f"{number:,} dropped ({reason})" for reason, number in turns["dropped"].items()]
        yield f"turns: {turns['read']:,} = {' + '.join(parts)}"
    if given := account.get("answers_of_weight_0"):
        yield f"answers of weight 0, given and never learnt: {given:,}"
    yield from key_uses.lines(account.get("keys", {}))
    if ignored := account.get("ignored_keys"):
        yield f"ignored keys: {', '.join(f'{key} ({rows:,} rows)' for key, rows in ignored.items())}"


def _histogram(counts: Mapping[str, int], out: Console) -> None:
    """Bars for the numbers of examples by length: a key is the most tokens of its bar."""
    most = max(counts.values(), default=0)
    for length, number in counts.items():
        if number:
            bar = "█" * max(1, round(BAR * number / most))
            out.print(f"  up to {int(length):>5,} tokens {number:>8,} {bar}", highlight=False)


def _cost_of_bugs(source: Source, faithful: EncodedSource, inspection: Inspection) -> None:
    """What `bug_compatible` costs, beside the encoding without FastChat's bugs."""
    sound = inspection.encoded(replace(source, bug_compatible=False))
    lost = sound.account["supervised_tokens"] - faithful.account["supervised_tokens"]
    masked = sum(faithful.account["masked"].values())
    inspection.out.print(
        f"  bug_compatible: {masked:,} of {len(faithful):,} examples are masked wholly; without it there are "
        f"{len(sound):,} examples and {lost:+,} supervised tokens"
    )


def _show(encoded: Encoded, title: str, encoder: Encoder, out: Console) -> None:
    """An example as text; what is supervised is green and in ⟦ ⟧."""
    supervised_tokens = int(encoded.supervised.sum())
    cut = ", truncated" if encoded.truncated else ""
    why = f", nothing is learnt: {encoded.reason}" if encoded.reason else ""
    counts = f"{len(encoded.input_ids):,} tokens, {supervised_tokens:,} supervised"
    out.rule(f"{escape(title)}: {counts}{cut}{why}", align="left")
    text = Text()
    for part, supervised in marked(encoded, encoder):
        shown = visible(part)
        short = shown if len(shown) <= 2 * SHOWN else f"{shown[:SHOWN]} … {shown[-SHOWN:]}"
        text.append(f"⟦{short}⟧" if supervised else short, style="bold green" if supervised else "dim")
    out.print(text, soft_wrap=True)


def marked(encoded: Encoded, encoder: Encoder) -> Iterator[tuple[str, bool]]:
    """The text in runs, each with whether it is supervised."""
    ids, flags = encoded.input_ids.tolist(), encoded.supervised.tolist()
    edges = [0, *(index for index in range(1, len(ids)) if flags[index] != flags[index - 1]), len(ids)]
    before = ""
    for start, stop in pairwise(edges):
        text = encoder.text(ids[:stop])
        yield text[len(before) :], flags[start]
        before = text


def _contamination(source: Source, folder: Path, out: Console) -> None:
    """The benchmark items that have words in common with rows of the source."""
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
