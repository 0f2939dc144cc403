"""The sources of a launch: fetched here, where the network is; encoded by a job of their own, before what needs
them.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from sft_sweeps.config.resolve import file_of
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.jobs.job import Encoding, Job, encode_first
from sft_sweeps.plan.build import Plan
from sft_sweeps.store.store import Store


def encoded_first(jobs: Sequence[Job], store: Store) -> list[Job]:
    """The jobs, after the one that encodes what is not on the shelf yet."""
    if not any(_files(job) for job in jobs):
        return list(jobs)
    from sft_sweeps.jobs import (
        encoding as encodings,  # what only real data needs: planning the miniature is quicker without
    )

    return encode_first(jobs, encodings.lacking(jobs, store))


def to_fetch(jobs: Iterable[Job], configs: Iterable[Config]) -> dict[Path, SourceConfig]:
    """The files that are to be encoded, are not here and have an address."""
    absent = {e.source.path for job in jobs for e in job.encodings if not Path(e.source.path).is_file()}
    entries = ((config, entry) for config in configs if absent for entry in config.data.sources.values())
    known = ((file_of(entry, config), entry) for config, entry in entries if not entry.path)
    return {path: entry for path, entry in known if str(path) in absent and (entry.url or entry.hub)}


def fetch(wanted: Mapping[Path, SourceConfig], out: Console) -> dict[str, str]:
    """Fetch files; why one did not come, by its path."""
    from sft_sweeps.launch import prepare

    return {str(path): text for path, text in prepare.fetch(wanted, out).items()}


def lines(jobs: Sequence[Job]) -> list[str]:
    """What a plan says of encoding: which sources, and which are fetched before."""
    found = []
    for job in jobs:
        if job.encodings:
            names = ", ".join(dict.fromkeys(map(_name, job.encodings)))
            waiting = sum(other.parent == job.id for other in jobs)
            wait = "job waits" if waiting == 1 else "jobs wait"
            found.append(f"one job without GPUs encodes first: {names}; {waiting} {wait} for it")
    return found


def notes(plan: Plan, store: Store) -> list[str]:
    """What was dropped of each source that was encoded before."""
    if all(c.source.rows_from == "generated" for stage in plan.stages for c in stage.mixture.components):
        return []
    from sft_sweeps.jobs import encoding as encodings

    return encodings.notes(plan, store)


def _files(job: Job) -> bool:
    """Whether a job may read a source's file."""
    used = [c.source for c in job.stage.mixture.components] if job.stage else []
    used += [g.benchmark.source for g in job.generations if job.kind == "generate" and g.benchmark.source]
    return any(source.rows_from != "generated" for source in used)


def _name(encoding: Encoding) -> str:
    there = Path(encoding.source.path).is_file()
    return encoding.source.name if there else f"{encoding.source.name} (its file is not here)"
