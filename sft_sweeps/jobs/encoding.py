"""The encoded sources that a sweep needs: which are not there, the job that makes them, what was dropped on the way.

Encoding needs minutes of a few CPUs and no GPU, so one job does it before anything is trained. A generated source takes
less than a job's start and is encoded by whoever needs it.
"""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sft_sweeps.data.encode import prepare
from sft_sweeps.data.encode.encoded_source import EncodedSource
from sft_sweeps.data.row_filter import check_account
from sft_sweeps.errors import Interrupted, RequestError, RunError, SweepError
from sft_sweeps.files.encoded import ACCOUNT, encoded_folder
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.jobs.job import PROGRESS, Encoding, Job, Stop, claim_folder
from sft_sweeps.models import train_tokenizer
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.evaluation import Generation, Representations
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import Store

PROGRESS_SECONDS = 2.0  # between two notes of how far it is
Use = tuple[Source, Model, str, int]  # a source as a model is given it: template, length in tokens
log = logging.getLogger(__name__)


class NoTokenizerError(RequestError):
    """A base model's tokenizer is not on this machine."""


@contextlib.contextmanager
def tokenizer_of(model: Model, store: Store) -> Iterator[Path]:
    """A folder with a base model's tokenizer, whether the model was made or fetched yet or not."""
    path = store.tokenizer(model)
    if not (path / "tokenizer.json").is_file() and not (path / "tokenizer.model").is_file():
        path = Path(model.tokenizer_path or path)
    if path.is_file():
        with TemporaryDirectory() as folder:
            train_tokenizer.copy(path, Path(folder))
            yield Path(folder)
    elif path.is_dir():
        yield path
    else:
        raise NoTokenizerError(
            f"model={model.name}: its tokenizer is not at {path}. Fetch the model, or name a folder with its "
            "tokenizer.json: model.tokenizer=FOLDER"
        )


def uses(items: Iterable[Stage | Generation | Representations]) -> Iterator[Use]:
    """What stages are trained on, held-out losses are taken on and queries are of, where sources are not generated."""
    return (use for use in _all_uses(items) if use[0].rows_from != "generated")


def _all_uses(items: Iterable[Stage | Generation | Representations]) -> Iterator[Use]:
    for item in items:
        if isinstance(item, Stage):
            model, template, length = item.model, item.recipe.template, item.recipe.max_length
            sources = [component.source for component in item.mixture.components]
        elif isinstance(item, Representations):
            model, template, length = item.subject.model, item.queries.template, item.queries.max_length
            sources = [item.queries.source]
        else:
            benchmark = item.benchmark
            model, template, length = item.subject.model, benchmark.template, benchmark.max_length
            sources = [benchmark.source] if benchmark.source else []
        yield from ((source, model, template, length) for source in sources)


def lacking(jobs: Sequence[Job], store: Store) -> list[tuple[Job, Encoding]]:
    """The encodings that are not stored yet, each with every job that needs it.

    They have no key where a model's tokenizer is not on this machine.
    """
    known: dict[Any, Encoding | None] = {}
    pairs = []
    for job in jobs:
        stages = [job.stage] if job.stage else []
        for use in uses([*stages, *(job.generations if job.kind == "generate" else ()), *job.analyses]):
            alike = _alike(use)
            if alike not in known:
                known[alike] = _lacking(use, store)
            if encoding := known[alike]:
                pairs.append((job, encoding))
    return pairs


def _alike(use: Use) -> Any:
    """What makes an encoding: of the model, its tokenizer."""
    source, model, template, max_length = use
    return source, model.tokenizer, template, max_length


def _lacking(use: Use, store: Store) -> Encoding | None:
    key = _key(use, store)
    return None if key and encoded_folder(key, store.roots) else Encoding(*use, key)


def _key(use: Use, store: Store) -> str:
    source, model, template, max_length = use
    try:
        with tokenizer_of(model, store) as folder:
            return prepare.encoded_key(source, folder, template, max_length).key
    except RequestError:  # of a tokenizer that is not here or of no use: preflight says what is wrong with it
        return ""


def keys(items: Iterable[Stage | Generation | Representations], store: Store) -> set[str]:
    """The keys of all encoded sources that items are made from; "" for one whose tokenizer is not on this machine."""
    return {_key(use, store) for use in {_alike(use): use for use in _all_uses(items)}.values()}


def encode(job: Job, store: Store, stop: Stop) -> None:
    """Store what a job encodes. What is wrong with one source's file keeps no other from being encoded."""
    problems = []
    for encoding in job.encodings:
        try:
            with tokenizer_of(encoding.model, store) as tokenizer:
                _encode(encoding, tokenizer, job, store, stop)
        except Interrupted:
            raise
        except SweepError as error:
            log.error("%s", error)
            problems.append(str(error))
    if problems:
        raise RunError("\n".join(problems))


def _encode(encoding: Encoding, tokenizer: Path, job: Job, store: Store, stop: Stop) -> None:
    source, folder, reported = encoding.source, claim_folder(job, store.folder(job.subject)), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)

    def progress(rows: int) -> None:
        nonlocal reported
        if stop():
            raise Interrupted(f"stopped while {source.name} was encoded; launched again, it begins with this source")
        if time.monotonic() - reported > PROGRESS_SECONDS:
            reported = time.monotonic()
            write_json(folder / PROGRESS, {"what": source.name, "done": rows, "of": max(source.rows, rows)}, False)
            log.info("%s: %d rows encoded", source.name, rows)

    key = prepare.encoded_key(source, tokenizer, encoding.template, encoding.max_length)
    encoded = prepare.get(key, tokenizer, store.roots, processes=prepare.helpers(source), progress=progress)
    log.info("%s", summary(encoded))
    for text in dropped(encoded.name, encoded.account):
        log.info("%s", text)


def summary(encoded: EncodedSource) -> str:
    """What an encoded source holds."""
    account = encoded.account
    return (
        f"{encoded.name}: {len(encoded):,} examples of {account['rows']:,} rows, {account['tokens']:,} tokens, "
        f"{account['supervised_tokens']:,} supervised"
    )


def notes(plan: Plan, store: Store) -> list[str]:
    """What was dropped of each source that a plan needs and that is encoded already."""
    return notes_of([(use[0].name, _key(use, store)) for use in _distinct(plan)], store)


def _distinct(plan: Plan) -> Iterable[Use]:
    return {_alike(use): use for use in uses([*plan.stages, *plan.generations, *plan.analyses])}.values()


def too_many_bad_rows(plan: Plan, store: Store) -> list[str]:
    """What is wrong with sources of a plan that were encoded when more bad rows were allowed than now."""
    texts = []
    for use in _distinct(plan):
        if folder := encoded_folder(_key(use, store), store.roots):
            try:
                check_account(read_json(folder / ACCOUNT), use[0])
            except RequestError as error:
                texts.append(str(error))
    return texts


def notes_of(keys: Iterable[tuple[str, str]], store: Store) -> list[str]:
    """The same of sources by name and key."""
    folders = [(name, encoded_folder(key, store.roots)) for name, key in keys if key]
    lines = (line for name, folder in folders if folder for line in dropped(name, read_json(folder / ACCOUNT)))
    return list(dict.fromkeys(lines))


def dropped(name: str, account: Mapping[str, Any]) -> Iterator[str]:
    """A line about what an encoded source lacks of its file; none where it lacks nothing."""
    every: Mapping[str, int] = account["dropped"]
    rows: Mapping[str, int] = account.get("dropped_rows", every)
    parts = {reason: count - rows.get(reason, 0) for reason, count in every.items()}
    counts = [f"{sum(rows.values()):,} of {account['rows']:,} rows dropped: {_counts(rows)}"] if rows else []
    counts += [f"parts of rows dropped: {_counts(parts)}"] if any(parts.values()) else []
    if counts:
        yield f"{name}: {'; '.join(counts)}"


def _counts(reasons: Mapping[str, int]) -> str:
    """Most frequent first."""
    ordered = sorted((item for item in reasons.items() if item[1]), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in ordered)
