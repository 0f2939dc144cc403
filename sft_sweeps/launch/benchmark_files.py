"""The published files of benchmarks: fetched, as sources are, by the launch that needs them or by `action=prepare`."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from sft_sweeps.benchmarks.published import PinnedFile
from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.config.resolve_sources import data_folder
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.jobs.job import Job
from sft_sweeps.spec.evaluation import Benchmark


def entries(configs: Iterable[Config]) -> dict[Path, SourceConfig]:
    """Every file that a configuration's benchmarks are read from and that has an address."""
    files = {file.path: file for config in configs for file in _files(config) if file.url}
    return {path: entry(file) for path, file in files.items()}


def to_download(jobs: Iterable[Job], configs: Iterable[Config]) -> dict[Path, SourceConfig]:
    """Those that the jobs read and that are not here."""
    read = {path for job in jobs for g in job.generations for path in _named(g.benchmark)}
    absent = {path for path in read if not path.is_file()}
    return {path: entry for path, entry in entries(configs).items() if path in absent} if absent else {}


def published(names: Iterable[str], folder: Path) -> dict[Path, SourceConfig]:
    """The published files of some benchmarks as they belong into a data folder."""
    definitions = [definition_of(name) for name in names]
    files = [f for one in definitions if one.settings for f in one.files(one.name, one.settings(), folder) if f.url]
    return {file.path: entry(file) for file in files}


def read_by(job: Job, benchmark: Benchmark) -> list[Path]:
    """The files of a benchmark without which a job cannot do its work: who answers needs nothing of the judge's."""
    return _named(benchmark) if job.kind == "judge" else _named(replace(benchmark, judge=None))


def _named(benchmark: Benchmark) -> list[Path]:
    judge = benchmark.judge
    named = (benchmark.path, judge.prompts_path, judge.references_path) if judge else (benchmark.path,)
    return [Path(path) for path in named if path]


def entry(file: PinnedFile) -> SourceConfig:
    """The file as what `download` fetches: of no ability, for nothing is trained on it."""
    return SourceConfig(name=file.name, ability="", role="", content=file.content, url=file.url)


def note(absent: Iterable[Path]) -> str:
    """What a plan says of files that a launch would fetch; empty where there are none."""
    names = ", ".join(path.name for path in absent)
    return f"not here yet, but fetched by a launch, or beforehand by action=prepare: {names}" if names else ""


def _files(config: Config) -> Iterator[PinnedFile]:
    for name in config.evaluate.benchmarks:
        if (settings := getattr(config.evaluate, name, None)) is not None:
            yield from definition_of(name).files(name, settings, data_folder(config))
