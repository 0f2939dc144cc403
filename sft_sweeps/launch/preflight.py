"""What must be true of this machine before anything starts: all problems at once, nothing half-written.

`config.problems` checked the text of each point; here is what needs the disk and the devices.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sft_sweeps.benchmarks import catalog
from sft_sweeps.data import read
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.files import packing
from sft_sweeps.files.content import content_of
from sft_sweeps.files.folders import nearest_existing
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.disk import DiskNeed, DiskPolicy, needed, room
from sft_sweeps.launch.gpus import gpus_here
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, State, Subject, reaches_heldout
from sft_sweeps.plan.engines import version_of_vllm
from sft_sweeps.sandbox import run as sandbox
from sft_sweeps.score import judge as judging
from sft_sweeps.spec import Generation, Model, Source, Stage
from sft_sweeps.store.store import Store

SURVEYED = 8 << 20  # bytes of a file whose rows are all looked at here: seconds

if TYPE_CHECKING:
    from sft_sweeps.data.encode.encoded_source import EncodedSource


def problems(
    plan: Plan,
    states: Mapping[str, State],
    jobs: Sequence[Job],
    store: Store,
    use: DiskPolicy | None = None,
    *,
    place: str = "local",
    unfetched: Mapping[str, str] = MappingProxyType({}),
) -> list[str]:
    """Everything that would fail later; `use` is how the launch will use the disk.

    `place` is where the jobs run: what GPUs a Slurm cluster has is not this machine's to tell. `unfetched` says by the
    paths of files why they could not be fetched; nothing, where that will be tried.
    """
    return [
        *_records(plan, states),
        *_output(plan, store, jobs, use or DiskPolicy()),
        *(text for other in store.others for text in _other(other.root)),
        *(_devices(jobs) if place == "local" else ()),
        *_items(jobs, place),
        *(_engines(jobs) if place == "local" else ()),
        *(text for model in _models(jobs) for text in _weights(model, store)),
        *_sources(jobs, store, unfetched),
    ]


def _records(plan: Plan, states: Mapping[str, State]) -> Iterator[str]:
    for item in (*plan.subjects, *plan.generations, *plan.scores):
        state = states[item.id]
        if state.state == "corrupted":
            yield f"{state.why}; if it is beyond repair, delete that file to have the work done again, then launch"


def _output(plan: Plan, store: Store, jobs: Sequence[Job], use: DiskPolicy) -> Iterator[str]:
    root, place = store.root, nearest_existing(store.root)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"\0" * 65536)
            file.flush()
    except OSError as error:
        yield f"output_dir={root} cannot be written ({error.strerror}); make room or choose output_dir=FOLDER"
        return
    stages = [job.subject for job in jobs if job.kind == "train" and isinstance(job.subject, Stage)]
    ends, keep = {run.id for run in plan.runs}, max((job.execution.keep for job in jobs), default=0)
    need, left = needed(stages, ends, use, keep), room(root)
    held = sum(cost.resume_gb(s.model.shape) for s in stages for _ in store.folder(s).glob("resume/step-*"))
    if left.gb + held < need.gb:
        fewer = needed(stages, ends, replace(use, retention="final"), keep)
        yield (
            f"output_dir={root} has {_size(left.gb)} left ({left.limit}); this sweep needs about "
            f"{_size(need.gb - held)}: {_parts(need, held)}. {_ways_out(need, fewer, use)}."
        )


def _parts(need: DiskNeed, held: float) -> str:
    models = f"{_size(need.models_gb)} of finished models ({need.models})"
    states = f"{_size(need.states_gb)} of resume states ({need.states} for each of {need.at_once} trained at once)"
    return f"{models} and {states}{f', {_size(held)} of which are there' if held else ''}"


def _ways_out(need: DiskNeed, fewer: DiskNeed, use: DiskPolicy) -> str:
    ways = ["Make room", "choose output_dir=FOLDER"]
    if fewer.models < need.models:
        ways.append(f"keep {fewer.models} models with store.retention=final")
    if need.at_once > 1:
        ways.append(f"train fewer at once with {use.key}={need.at_once // 2}")
    return f"{', '.join(ways[:-1])} or {ways[-1]}"


def _other(root: Path) -> Iterator[str]:
    """What is wrong with a store that is only read."""
    try:
        found = [os.listdir(root / kind) for kind in ("stages", "models") if (root / kind).is_dir()]
    except OSError as error:
        yield f"store.read_from: {root} cannot be read ({error.strerror}); have it opened to you, or leave it out"
        return
    if not found:
        what = "holds neither stages/ nor models/" if root.is_dir() else "is not there"
        yield f"store.read_from: {root} {what}; name another's output_dir, or leave it out"


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{1000 * gigabytes:,.1f} MB"


def _devices(jobs: Sequence[Job]) -> Iterator[str]:
    have = gpus_here()
    wanted = {job.subject.label: job.subject.gpus for job in jobs if isinstance(job.subject, Model)}
    wanted |= {job.subject.model.name: job.subject.model.gpus for job in jobs if isinstance(job.subject, Stage)}
    for name, gpus in wanted.items():
        if gpus > have:
            yield (
                f"model={name} needs {gpus} GPUs, this machine has {have or 'none'}. Launch on a cluster's login node "
                "with cluster=slurm, see what it would cost with action=plan, or run the miniature: model=mini"
            )


def _items(jobs: Sequence[Job], place: str) -> Iterator[str]:
    benchmarks = {g.benchmark for job in jobs for g in job.generations if g.benchmark.generates}
    for benchmark in sorted(benchmarks, key=lambda b: (b.name, b.examples, b.seed)):
        try:
            catalog.items(benchmark)
        except RequestError as error:
            yield str(error)
    if place == "local" and any(b.name in ("humaneval", "mini_code") for b in benchmarks):
        yield from _sandbox(jobs)
    for judge in {b.judge for b in benchmarks if b.judge}:
        yield from judging.missing(judge)


def _engines(jobs: Sequence[Job]) -> Iterator[str]:
    """Whether vLLM is there, in the planned version; a cluster's nodes say it themselves."""
    for engine, python in {(g.engine, job.execution.engine_python) for job in jobs for g in job.generations}:
        if engine.backend != "vllm" or not any(job.kind == "generate" for job in jobs):
            continue
        try:
            found = version_of_vllm(python)
        except RequestError as error:
            yield str(error)
            continue
        if (major := found.partition(".")[0]) != engine.version:
            yield (
                f"evaluate.engine_version={engine.version}: {python or sys.executable} has vLLM {found}; type "
                f"evaluate.engine_version={major}"
            )


def _sandbox(jobs: Sequence[Job]) -> Iterator[str]:
    """Whether this machine can hold what models write; a cluster's nodes say it themselves."""
    for isolation in {job.execution.isolation for job in jobs if job.kind == "score"}:
        try:
            sandbox.check(isolation)
        except RunError as error:
            yield str(error)


def _models(jobs: Sequence[Job]) -> list[Model]:
    models = (job.subject.model if isinstance(job.subject, Stage) else job.subject for job in jobs)
    return list({model.id: model for model in models}.values())


def _weights(model: Model, store: Store) -> Iterator[str]:
    if model.tokenizer.startswith("provisional:"):
        yield (
            f"model.tokenizer={model.tokenizer_path}: no readable tokenizer.json there, or beside it no "
            "tokenizer_config.json that names bos_token and eos_token; name a folder that has both, or make one with: "
            "sft-sweeps tokenizer FILE ... --out FOLDER"
        )
    if model.initialised:
        return
    folder = store.weights(model)
    if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
        yield (
            f"model={model.name}: no config.json and *.safetensors in {folder}. Download "
            f"{model.weights.removeprefix('hub:')} there, or set model.folder=FOLDER."
        )
        return
    yield from (
        f"model={model.name}: {text}" for text in checkpoint.problems(folder, model.shape, model.tokenizer_path)
    )


def _sources(jobs: Sequence[Job], store: Store, unfetched: Mapping[str, str]) -> Iterator[str]:
    """The files that missing stages train on and held-out losses are taken on: there, the planned ones, and usable."""
    found: dict[Source, list[Job]] = {}  # a sweep may hold two files for one name
    for job in jobs:
        stages = [job.subject] if job.kind == "train" and isinstance(job.subject, Stage) else []
        used = [c.source for stage in stages for c in stage.mixture.components]
        for source in [*used, *(g.benchmark.source for g in job.generations if g.benchmark.source)]:
            found.setdefault(source, []).append(job)
    for source, users in found.items():
        if source.rows_from != "generated":
            key, shelf = f"data.sources.{source.slot}", _shelf(source, users, store)
            if shelf is None and source.path in unfetched:
                yield from (f"{key}: {text}" for text in [unfetched[source.path]] if text)
            else:
                yield from _data(source, key, users, shelf)


def _shelf(source: Source, users: Sequence[Job], store: Store) -> "EncodedSource | None":
    """The source as it was encoded before, for the first job that trains on it."""
    from sft_sweeps.data.encode import prepare

    for job in users:
        if isinstance(job.subject, Stage) and (place := job.subject.model.tokenizer_path):
            recipe = job.subject.recipe
            wish = prepare.wanted(source, Path(place), recipe.template, recipe.max_length)
            return wish.find(store.roots)
    return None


def _data(source: Source, key: str, users: Sequence[Job], shelf: "EncodedSource | None") -> Iterator[str]:
    path = Path(source.path)
    tags = source.cleaning.tags if source.cleaning else ""
    if tags.startswith("provisional:"):
        yield f"{key}.clean.tags_file={tags.partition(':')[2]} is not there; name the file, or leave it out"
        return
    if shelf is not None:
        yield from _overlaps(source, key, users, len(shelf))
        return
    if not path.is_file():
        yield f"{key}: source {source.name} is not at {path}. Place the file there, or set {key}.path=FILE."
        return
    try:
        content, _ = content_of(path, source.content)
    except (OSError, ValueError, *packing.DAMAGED) as error:
        yield f"{key}: {path} cannot be read ({error}). Fetch it again, or set {key}.path=FILE."
        return
    if content != source.content:
        yield (
            f"{key}: {path} is not the pinned {source.name} ({content}, expected {source.content}). Fetch it again, or "
            f"use it as a file of your own with {key}.path={path}."
        )
        return
    if path.stat().st_size > SURVEYED:  # its own job reads it, and says the same of it
        yield from _overlaps(source, key, users, source.rows)
        return
    try:
        tally = read.survey(path, source, f"{key}.max_bad_fraction")
    except RequestError as error:
        yield str(error)
        return
    yield from _overlaps(source, key, users, tally.examples)


def _overlaps(source: Source, key: str, users: Sequence[Job], usable: int) -> Iterator[str]:
    taken = {g.benchmark.examples for job in users for g in job.generations if _meets(job.subject, g, source, usable)}
    for count in taken:
        yield (
            f"{key}: of {usable:,} usable rows, a run trains on some that its held-out loss is taken on; "
            f"set data.heldout={count}, or a smaller evaluate.examples"
        )


def _meets(subject: Subject, generation: Generation, source: Source, usable: int) -> bool:
    return generation.benchmark.source == source and reaches_heldout(subject, generation.benchmark, usable)
