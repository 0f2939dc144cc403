"""`action=prepare`: a sweep's files downloaded and checked, sources cleaned and encoded: no job needs the network then.

    python launch.py study=table1 action=prepare

What is there already is left as it is. A source that cannot be reached does not keep the others from being prepared;
all of them are named at the end, with the file to place by hand.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sft_sweeps.config.resolve_sources import file_of
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import read
from sft_sweeps.data.encode import prepare
from sft_sweeps.errors import RunError
from sft_sweeps.jobs import encoding
from sft_sweeps.launch import benchmark_files, inspect
from sft_sweeps.launch.download import download_all
from sft_sweeps.plan.request import Request
from sft_sweeps.spec.data import Source
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import say


def run(configs: Sequence[Config], resolve: Callable[[], Sequence[Request]], out: Console) -> int:
    """Prepare what the points need; `resolve` gives their exact values once the files are here. The exit status."""
    failures = download_all(_files(configs), out)
    config = configs[0]
    store = Store(config.output_dir, config.store.read_from)
    seen = set()
    for request in resolve():
        for component in request.components:
            source = component.source
            key = (source, request.model.tokenizer, request.recipe.template, request.recipe.max_length)
            if key in seen or (source.rows_from != "generated" and not Path(source.path).is_file()):
                continue
            seen.add(key)
            _encode(source, request, store, out)
    for text in failures.values():
        say(out, f"[red]failed[/] {escape(text)}")
    return RunError.exit_status if failures else 0


def _files(configs: Sequence[Config]) -> dict[Path, SourceConfig]:
    """Every file that a point trains on or is scored with; of two entries for one file, the first."""
    entries: dict[Path, SourceConfig] = {}
    for config in configs:
        for entry in config.data.sources.values():
            if not entry.generated:
                entries.setdefault(file_of(entry, config), entry)
    return {**entries, **benchmark_files.entries(configs)}


def _encode(source: Source, request: Request, store: Store, out: Console) -> None:
    """Encode a source for the model's tokenizer; only check it where that is not here."""
    try:
        with encoding.tokenizer_of(request.model, store) as folder:
            key = prepare.encoded_key(source, folder, request.recipe.template, request.recipe.max_length)
            encoded = inspect.encode_with_progress(key, folder, store, out)
    except encoding.NoTokenizerError as error:
        tally = read.survey(Path(source.path), source, f"data.sources.{source.slot}.max_bad_fraction")
        say(out, f"checked {source.name}: {tally.examples:,} of {tally.rows:,} rows can be used")
        say(out, f"[yellow]note[/] not encoded: {escape(str(error))}")
        return
    say(out, f"prepared {encoding.summary(encoded)}: {encoded.folder}")
    for text in encoding.dropped(source.name, encoded.account):
        say(out, f"  {text}")
    for text in inspect.turns_and_keys(encoded.account):
        say(out, f"  {escape(text)}")
