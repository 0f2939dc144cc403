"""The sources of a launch: which files it has to download, and the job that encodes them before all that need them.

Importing `jobs.encoding` (tokenizers, NumPy) is left to the sweeps that read files: the miniature is planned without.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from sft_sweeps.config.resolve_sources import file_of
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.jobs.job import Encoding, Job, encode_first
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.data import Source
from sft_sweeps.store.store import Store


def with_encoding_first(jobs: Sequence[Job], store: Store) -> list[Job]:
    """The jobs, and before them one that encodes the sources that are not in the store yet."""
    if not any(_reads_file(source) for job in jobs for source in _sources_of(job)):
        return list(jobs)
    from sft_sweeps.jobs import encoding  # see above

    return encode_first(jobs, encoding.lacking(jobs, store))


def to_download(jobs: Iterable[Job], configs: Iterable[Config]) -> dict[Path, SourceConfig]:
    """The files that the jobs encode, that are not here, and that the configuration has an address of."""
    absent = {Path(e.source.path) for job in jobs for e in job.encodings if not Path(e.source.path).is_file()}
    if not absent:
        return {}
    entries = ((config, entry) for config in configs for entry in config.data.sources.values() if not entry.path)
    files = ((file_of(entry, config), entry) for config, entry in entries if entry.url or entry.hub)
    return {path: entry for path, entry in files if path in absent}


def entries(configs: Iterable[Config]) -> dict[Path, SourceConfig]:
    """What the configuration says of each file that a source may be read from."""
    every = ((config, entry) for config in configs for entry in config.data.sources.values() if not entry.generated)
    return {file_of(entry, config): entry for config, entry in every}


def encoding_lines(jobs: Sequence[Job]) -> list[str]:
    """What a plan says of encoding: the sources' names, and how many jobs wait for it."""
    lines = []
    for job in jobs:
        if job.encodings:
            names = ", ".join(dict.fromkeys(map(_name, job.encodings)))
            waiting = sum(other.parent == job.id for other in jobs)
            wait = "job waits" if waiting == 1 else "jobs wait"
            lines.append(f"one job without GPUs encodes first: {names}; {waiting} {wait} for it")
    return lines


def dropped_notes(plan: Plan, store: Store) -> list[str]:
    """What was dropped of each source that an earlier launch encoded."""
    if not any(_reads_file(c.source) for stage in plan.stages for c in stage.mixture.components):
        return []
    from sft_sweeps.jobs import encoding  # see above

    return encoding.notes(plan, store)


def _sources_of(job: Job) -> list[Source]:
    """The sources that a job trains on, takes held-out losses on, or takes queries of."""
    if job.stage:
        return [component.source for component in job.stage.mixture.components]
    if job.analyses:
        return [one.queries.source for one in job.analyses]
    return [g.benchmark.source for g in job.generations if job.kind == "generate" and g.benchmark.source]


def _reads_file(source: Source) -> bool:
    return source.rows_from != "generated"


def _name(encoding: Encoding) -> str:
    is_here = Path(encoding.source.path).is_file()
    return encoding.source.name if is_here else f"{encoding.source.name} (its file is not here)"
