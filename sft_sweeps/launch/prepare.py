"""`action=prepare`: every source of a sweep fetched, checked, cleaned and encoded, so that no stage needs the network.

    python launch.py study=table1 action=prepare

What is there already is left as it is. A source that cannot be reached does not keep the others from being prepared;
all of them are named at the end, with the file to place by hand.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from sft_sweeps.config.resolve import file_of
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import read
from sft_sweeps.data.encode import prepare
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.jobs import encoding
from sft_sweeps.launch import download, inspect
from sft_sweeps.plan.request import Request
from sft_sweeps.spec import Source
from sft_sweeps.store.store import Store
from sft_sweeps.terminal import say


def run(configs: Sequence[Config], resolve: Callable[[], Sequence[Request]], out: Console) -> int:
    """Prepare what the points need; `resolve` gives their exact values once the files are there. The exit status."""
    failed = _fetch_all(configs, out)
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
    for text in failed:
        say(out, f"[red]failed[/] {escape(text)}")
    return RunError.exit_status if failed else 0


def _fetch_all(configs: Sequence[Config], out: Console) -> list[str]:
    """What of all that the points name could not be fetched, and why."""
    wanted: dict[Path, SourceConfig] = {}
    for config in configs:
        for entry in config.data.sources.values():
            if not entry.generated:
                wanted.setdefault(file_of(entry, config), entry)
    return list(fetch(wanted, out).values())


def fetch(wanted: Mapping[Path, SourceConfig], out: Console) -> dict[Path, str]:
    """Fetch the files that are not there, with a bar for each; of those that could not be, the reason."""
    failed = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        for path, entry in wanted.items():
            if path.is_file():
                continue
            if entry.path:
                failed[path] = f"source {entry.name}: there is no file {path}. Give its place, or leave the path out."
                continue
            task = progress.add_task(entry.name)

            def show(there: int, total: int, task: object = task) -> None:
                progress.update(task, completed=there, total=total or None)  # type: ignore[arg-type]

            try:
                download.fetch(entry, path, show)
                say(out, f"fetched {entry.name}: {path}")
            except RunError as error:
                failed[path] = str(error)
    return failed


def _encode(source: Source, request: Request, store: Store, out: Console) -> None:
    """Encoded for the model's tokenizer; only checked where that is not here."""
    try:
        with encoding.tokenizer_of(request.model, store) as folder:
            wish = prepare.wanted(source, folder, request.recipe.template, request.recipe.max_length)
            found = inspect.fetched(wish, folder, store, out)
    except encoding.NoTokenizerError as error:
        key = f"data.sources.{source.slot}.max_bad_fraction"
        tally = read.survey(Path(source.path), source, key)
        say(out, f"checked {source.name}: {tally.examples:,} of {tally.rows:,} rows can be used")
        say(out, f"[yellow]note[/] not encoded: {escape(str(error))}")
        return
    say(out, f"prepared {encoding.summary(found)}: {found.folder}")
    for text in encoding.dropped(source.name, found.account):
        say(out, f"  {text}")
    if source.rows_from == "declared" and source.rows != found.account["rows"]:
        raise RequestError(f"source {source.name} declares {source.rows:,} rows and has {found.account['rows']:,}")
