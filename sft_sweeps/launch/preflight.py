"""What must be true of this machine before anything starts: all problems at once, nothing half-written.

`config.problems` checked the text of each point; here is what needs the disk and the devices.
"""

import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sft_sweeps import cost
from sft_sweeps.benchmarks import mini
from sft_sweeps.data import read
from sft_sweeps.errors import RequestError
from sft_sweeps.jobs import Job
from sft_sweeps.launch.local import gpus_here
from sft_sweeps.plan import Plan, State, Subject, reaches_heldout
from sft_sweeps.resolve import content_of
from sft_sweeps.spec import Generation, Model, Source, Stage
from sft_sweeps.store import Store, existing, free_gb

RESUME_BYTES = 12  # fp32 weight and two moments of one parameter in a resume state


def problems(plan: Plan, states: Mapping[str, State], jobs: Sequence[Job], store: Store) -> list[str]:
    """Everything that would fail later."""
    return [
        *_records(plan, states),
        *_output(store, jobs),
        *_devices(jobs),
        *_items(jobs),
        *(text for model in _models(jobs) for text in _weights(model, store)),
        *_sources(jobs),
    ]


def _records(plan: Plan, states: Mapping[str, State]) -> Iterator[str]:
    for item in (*plan.subjects, *plan.generations, *plan.scores):
        state = states[item.id]
        if state.state == "corrupted":
            yield f"{state.why}; if it is beyond repair, delete that file to have the work done again, then launch"


def _output(store: Store, jobs: Sequence[Job]) -> Iterator[str]:
    root, place = store.root, existing(store.root)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 65536)
            file.flush()
    except OSError as error:
        yield f"output_dir={root} cannot be written ({error.strerror}); make room or choose output_dir=FOLDER"
        return
    stages = [job.subject for job in jobs if job.kind == "train" and isinstance(job.subject, Stage)]
    largest = max((cost.parameters(stage.model.shape) * RESUME_BYTES / 1e9 for stage in stages), default=0.0)
    need = sum(map(cost.model_gb, stages)) + 2 * largest
    if (free := free_gb(root)) < need:
        yield (
            f"output_dir={root} has {_size(free)} free; the finished models and resume states of this sweep need "
            f"about {_size(need)}. Make room or choose output_dir=FOLDER."
        )


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{1000 * gigabytes:,.1f} MB"


def _devices(jobs: Sequence[Job]) -> Iterator[str]:
    have = gpus_here()
    wanted = {job.subject.label: job.subject.gpus for job in jobs if isinstance(job.subject, Model)}
    wanted |= {job.subject.model.name: job.subject.model.gpus for job in jobs if isinstance(job.subject, Stage)}
    for name, gpus in wanted.items():
        if gpus > have:
            yield (
                f"model={name} needs {gpus} GPUs, this machine has {have or 'none'}. See what it would cost with "
                f"action=plan, or run the miniature: model=mini"
            )


def _items(jobs: Sequence[Job]) -> Iterator[str]:
    benchmarks = {g.benchmark for job in jobs for g in job.generations if g.benchmark.generates}
    for name, count, seed in sorted({(b.name, b.examples, b.seed) for b in benchmarks}):
        try:
            mini.items(name, count, seed)
        except ValueError as error:
            yield f"evaluate.examples={count} is too many: {error}; set evaluate.examples to fewer"


def _models(jobs: Sequence[Job]) -> list[Model]:
    models = (job.subject.model if isinstance(job.subject, Stage) else job.subject for job in jobs)
    return list({model.id: model for model in models}.values())


def _weights(model: Model, store: Store) -> Iterator[str]:
    if model.tokenizer.startswith("provisional:"):
        yield (
            f"model.tokenizer={model.tokenizer_path}: no readable tokenizer.json there; name a folder that has one, "
            "or make one with: sft-sweeps tokenizer FILE ... --out FOLDER"
        )
    if model.initialised:
        return
    folder = store.weights(model)
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        yield (
            f"model={model.name}: no config.json and *.safetensors in {folder}. Download "
            f"{model.weights.removeprefix('hub:')} there, or set model.folder=FOLDER."
        )


def _sources(jobs: Sequence[Job]) -> Iterator[str]:
    """The files that missing stages train on and held-out losses are taken on: there, the planned ones, and usable."""
    found: dict[Source, list[Job]] = {}  # a sweep may hold two files for one name
    for job in jobs:
        stages = [job.subject] if job.kind == "train" and isinstance(job.subject, Stage) else []
        used = [c.source for stage in stages for c in stage.mixture.components]
        for source in [*used, *(g.benchmark.source for g in job.generations if g.benchmark.source)]:
            found.setdefault(source, []).append(job)
    for source, users in found.items():
        if source.rows_from != "generated":
            yield from _data(source, f"data.sources.{source.slot}", users)


def _data(source: Source, key: str, users: Sequence[Job]) -> Iterator[str]:
    path = Path(source.path)
    if not path.is_file():
        yield f"{key}: source {source.name} is not at {path}. Place the file there, or set {key}.path=FILE."
        return
    try:
        content, _ = content_of(path, source.content)
    except (OSError, EOFError, zlib.error) as error:
        yield f"{key}: {path} cannot be read ({error}). Fetch it again, or set {key}.path=FILE."
        return
    if content != source.content:
        yield (
            f"{key}: {path} is not the pinned {source.name} ({content}, expected {source.content}). Fetch it again, or "
            f"use it as a file of your own with {key}.path={path}."
        )
        return
    limit, form = source.max_bad_fraction, source.format
    try:
        table = read.read(path, source.name, max_bad_fraction=limit, format=form, limit_key=f"{key}.max_bad_fraction")
    except RequestError as error:
        yield str(error)
        return
    taken = {g.benchmark.examples for job in users for g in job.generations if _meets(job.subject, g, source, table)}
    for count in taken:
        yield (
            f"{key}: of {len(table.examples):,} usable rows, a run trains on some that its held-out loss is taken on; "
            f"set data.heldout={count}, or a smaller evaluate.examples"
        )


def _meets(subject: Subject, generation: Generation, source: Source, table: read.Table) -> bool:
    return generation.benchmark.source == source and reaches_heldout(subject, generation.benchmark, len(table.examples))
