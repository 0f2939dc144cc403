"""What must be true wherever the jobs run, before anything starts: all problems at once, nothing half-written.

`config.checks` looked at the text of each point; here is what needs the disk. What the machine itself must have is in
local/preflight.py, what a cluster must have in slurm/preflight.py.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sft_sweeps.benchmarks import judging
from sft_sweeps.benchmarks.registry import items_of
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.data import read
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_pin
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch import adapters, benchmark_files, output
from sft_sweeps.launch.disk import DiskPolicy
from sft_sweeps.launch.examined import examine
from sft_sweeps.models import architectures, hub_cache
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models.pins import why_provisional
from sft_sweeps.plan.build import reaches_heldout
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey

DEFAULT_POLICY = DiskPolicy()
NO_DOWNLOADS: Mapping[Path, str] = MappingProxyType({})
NO_ENTRIES: Mapping[Path, SourceConfig] = MappingProxyType({})
SHORT = 64  # tokens of an example that is not written
SURVEYED = 8 << 20  # bytes of a file whose rows are all looked at here: seconds

if TYPE_CHECKING:
    from sft_sweeps.data.encode.encoded_source import EncodedSource


def problems(
    survey: Survey,
    jobs: Sequence[Job],
    policy: DiskPolicy = DEFAULT_POLICY,
    failed_downloads: Mapping[Path, str] = NO_DOWNLOADS,
    entries: Mapping[Path, SourceConfig] = NO_ENTRIES,
) -> list[str]:
    """Everything that would fail later wherever the jobs run, each text with what to type, the disk's room last.

    `failed_downloads` has the reason for each file that could not be downloaded; an empty one where that is still to
    be tried. `entries` is what the configuration says of a source's file.
    """
    return [*inputs(survey, jobs, failed_downloads, entries), *output.problems(survey, jobs, policy)]


def inputs(
    survey: Survey,
    jobs: Sequence[Job],
    failed_downloads: Mapping[Path, str] = NO_DOWNLOADS,
    entries: Mapping[Path, SourceConfig] = NO_ENTRIES,
) -> list[str]:
    """What is wrong with all that the jobs read: records, models, sources, benchmarks."""
    texts = [
        *_records(survey),
        *(text for other in survey.store.others for text in _other_store(other.root)),
        *(text for model, padded in _models(jobs) for text in _weights(model, survey.store, padded)),
        *adapters.problems(jobs, survey.store),
        *_templates(jobs, survey.store),
        *_bad_rows(survey),
        *_sources(jobs, survey.store, failed_downloads, entries),
        *_benchmarks(jobs, failed_downloads),
    ]
    return list(dict.fromkeys(texts))  # a file that is read again for a held-out loss says the same


def _records(survey: Survey) -> Iterator[str]:
    """Records that exist and cannot be trusted."""
    plan, states = survey.plan, survey.states
    unscored = [g for g, s in zip(plan.generations, plan.scores, strict=True) if states[s.id].state != "done"]
    for item in (*plan.subjects, *unscored, *plan.scores, *plan.analyses):
        state = states[item.id]
        if state.state == "corrupted":
            yield f"{state.why}; if it cannot be repaired, delete that file to have the work done again, then launch"


def _bad_rows(survey: Survey) -> list[str]:
    """Encoded sources with more bad rows than are allowed now, of finished stages too: the limit is the request's."""
    if not any(c.source.rows_from != "generated" for stage in survey.plan.stages for c in stage.mixture.components):
        return []
    from sft_sweeps.jobs import encoding  # tokenizers and NumPy, which the miniature is planned without

    return encoding.too_many_bad_rows(survey.plan, survey.store)


def _other_store(root: Path) -> Iterator[str]:
    """What is wrong with a store that is only read."""
    try:
        folders = [os.listdir(root / kind) for kind in ("stages", "models") if (root / kind).is_dir()]
    except OSError as error:
        yield (
            f"store.read_from: {root} cannot be read ({error.strerror}); ask its owner to let you read it, or leave it "
            "out"
        )
        return
    if not folders:
        what = "holds neither stages/ nor models/" if root.is_dir() else "is not there"
        yield f"store.read_from: {root} {what}; name another's output_dir, or leave it out"


def _benchmarks(jobs: Sequence[Job], failed_downloads: Mapping[Path, str]) -> Iterator[str]:
    """Benchmarks whose items are not here or too few, and judges that cannot be asked."""
    yield from _not_downloaded(jobs, failed_downloads)
    benchmarks = {g.benchmark for job in jobs for g in job.generations if g.benchmark.generates}
    for benchmark in sorted(benchmarks, key=lambda b: (b.name, b.examples, b.seed)):
        if Path(benchmark.path) in failed_downloads:
            continue
        try:
            items_of(benchmark)
        except RequestError as error:
            yield str(error)
    judges = {(g.benchmark.name, g.benchmark.judge) for job in jobs if job.kind == "judge" for g in job.generations}
    for name, judge in judges:
        if judge and not {Path(judge.prompts_path), Path(judge.references_path)} & failed_downloads.keys():
            yield from judging.missing_texts(judge, name)


def _not_downloaded(jobs: Sequence[Job], failed_downloads: Mapping[Path, str]) -> Iterator[str]:
    """Why files of benchmarks could not be fetched; those of a judge where one is to be asked."""
    read = {path for job in jobs for g in job.generations for path in benchmark_files.read_by(job, g.benchmark)}
    yield from (failed_downloads[path] for path in sorted(read & failed_downloads.keys()) if failed_downloads[path])


def _models(jobs: Sequence[Job]) -> list[tuple[Model, bool]]:
    """Each base model, and whether it is trained in padded rows."""
    found: dict[tuple[str, bool], tuple[Model, bool]] = {}
    for job in jobs:
        model = job.subject.model
        padded = job.stage.recipe.padded if job.stage else architectures.is_padded(model.shape.model_type)
        found.setdefault((model.id, padded), (model, padded))
    return list(found.values())


def _weights(model: Model, store: Store, padded: bool) -> Iterator[str]:
    """What is wrong with a base model's tokenizer or weights, to be trained in padded rows or without padding."""
    if model.tokenizer.startswith("provisional:"):
        yield (
            f"model.tokenizer={model.tokenizer_path}: {why_provisional(model.tokenizer_path)}; or name another folder, "
            "or make one with: sft-sweeps tokenizer FILE ... --out FOLDER"
        )
    if model.initialised:
        return
    folder = store.weights(model)
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        name, revision = hub_cache.repository_and_revision(model.weights)
        line = f"hf download {name} --revision {revision}"
        fetch = f"Fetch them where there is a network: {line}; or set" if name else "Set"
        yield f"model={model.name}: no config.json and *.safetensors in {folder}. {fetch} model.folder=FOLDER."
        return
    yield from (
        f"model={model.name}: {text}"
        for text in checkpoint.problems(folder, model.shape, model.tokenizer_path, examine, padded=padded)
    )


def _templates(jobs: Sequence[Job], store: Store) -> Iterator[str]:
    """Tokenizers and chat templates of models that are not made here, with which no example could be written."""
    for name, folder, template in sorted({found for job in jobs if (found := _written_with(job, store))}):
        from sft_sweeps.data.encode.encoder import Encoder  # as above

        try:
            Encoder(folder, template, SHORT)
        except RequestError as error:
            yield f"model={name}: {error}"


def _written_with(job: Job, store: Store) -> tuple[str, Path, str] | None:
    """(model, folder of the tokenizer, template) of a job that trains; None where the tokenizer is this package's."""
    model = job.subject.model
    own = model.tokenizer_path or ("" if model.initialised else str(store.weights(model)))
    if not job.stage or model.tokenizer.startswith("provisional:") or not (own and Path(own).is_dir()):
        return None
    return model.name, Path(own), job.stage.recipe.template


def _sources(
    jobs: Sequence[Job], store: Store, failed_downloads: Mapping[Path, str], entries: Mapping[Path, SourceConfig]
) -> Iterator[str]:
    """The files that jobs train on, or take held-out losses or queries of: whether they are here, as planned."""
    users: dict[Source, list[Job]] = {}  # a sweep may hold two files for one name
    for job in jobs:
        trained_on = [c.source for c in job.stage.mixture.components] if job.stage else []
        heldout = [g.benchmark.source for g in job.generations if g.benchmark.source]
        for source in [*trained_on, *heldout, *(one.queries.source for one in job.analyses)]:
            users.setdefault(source, []).append(job)
    for source, its_users in users.items():
        if source.rows_from == "generated":
            continue
        encoded = _encoded(source, its_users, store)
        if encoded is None and (reason := failed_downloads.get(Path(source.path))) is not None:
            yield from (f"{_key(source)}: {text}" for text in [reason] if text)
        else:
            yield from _source(source, its_users, encoded, entries.get(Path(source.path)))


def _key(source: Source) -> str:
    """Where the source stands in the configuration."""
    return f"data.sources.{source.slot}"


def _encoded(source: Source, users: Sequence[Job], store: Store) -> "EncodedSource | None":
    """The source as an earlier launch encoded it, for the first job that trains on it."""
    from sft_sweeps.data.encode import prepare  # as above

    for job in users:
        if isinstance(job.subject, Stage) and (tokenizer := job.subject.model.tokenizer_path):
            recipe = job.subject.recipe
            return prepare.encoded_key(source, Path(tokenizer), recipe.template, recipe.max_length).find(store.roots)
    return None


def _source(
    source: Source, users: Sequence[Job], encoded: "EncodedSource | None", entry: SourceConfig | None
) -> Iterator[str]:
    tags = source.cleaning.tags if source.cleaning else ""
    if tags.startswith("provisional:"):
        tags_file = tags.partition(":")[2]
        yield f"{_key(source)}.clean.tags_file={tags_file} is not there; name the file, or leave it out"
    elif encoded is not None:
        yield from _overlaps(source, users, len(encoded))
    elif problem := _not_the_planned_file(source, entry):
        yield problem
    elif Path(source.path).stat().st_size > SURVEYED:  # the job that encodes it reads it, and says the same of it
        yield from _overlaps(source, users, source.rows)
    else:
        try:
            tally = read.survey(Path(source.path), source, f"{_key(source)}.max_bad_fraction")
        except RequestError as error:
            yield str(error)
        else:
            yield from _overlaps(source, users, tally.examples)


def _not_the_planned_file(source: Source, entry: SourceConfig | None) -> str:
    """Why the file cannot be used: it is absent, damaged, or not the pinned one; empty where it can."""
    key, path = _key(source), Path(source.path)
    if not path.is_file():
        if entry and entry.path:
            return f"{key}.path={path} is not there; correct it, or leave it out for {source.name} of conf/source"
        had = f" It is {entry.origin}." if entry and entry.origin else ""
        return f"{key}: source {source.name} is not at {path}.{had} Place the file there, or set {key}.path=FILE."
    try:
        content, _ = content_pin(path, source.content)
    except (OSError, ValueError, RequestError) as error:
        return f"{key}: {path} cannot be read ({error.__cause__ or error}). Fetch it again, or set {key}.path=FILE."
    if content != source.content:
        return (
            f"{key}: {path} is not the pinned {source.name} ({content}, expected {source.content}). Fetch it again, or "
            f"use it as a file of your own with {key}.path={path}."
        )
    return ""


def _overlaps(source: Source, users: Sequence[Job], usable: int) -> Iterator[str]:
    """Held-out losses of the source that would be taken on rows which a run trains on."""
    benchmarks = {
        g.benchmark
        for job in users
        for g in job.generations
        if g.benchmark.source == source and reaches_heldout(job.subject, g.benchmark, usable)
    }
    for count in {benchmark.examples for benchmark in benchmarks}:
        yield (
            f"{_key(source)}: of {usable:,} usable rows, a run trains on some that its held-out loss is taken on; "
            f"set data.heldout={count}, or a smaller evaluate.examples"
        )
