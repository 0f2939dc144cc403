"""The sources of a launch: fetched here, where the network is; encoded by a job of their own, before what needs
them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from sft_sweeps.jobs import Encoding, Job, encode_first
from sft_sweeps.plan import Plan
from sft_sweeps.resolve import file_of
from sft_sweeps.schema import Config
from sft_sweeps.store import Store


def encoded_first(jobs: Sequence[Job], store: Store) -> list[Job]:
    """The jobs, after the one that encodes what is not on the shelf yet."""
    if not any(_files(job) for job in jobs):
        return list(jobs)
    from sft_sweeps.data import encodings  # what only real data needs: planning the miniature is quicker without

    return encode_first(jobs, encodings.lacking(jobs, store))


def fetch(jobs: Iterable[Job], configs: Iterable[Config], out: Console) -> tuple[bool, dict[str, str]]:
    """Fetch the files that are to be encoded; whether any came, and of each that did not its path with the reason."""
    absent = {e.source.path for job in jobs for e in job.encodings if not Path(e.source.path).is_file()}
    if not absent:
        return False, {}
    wanted = {}
    for config in configs:
        for entry in config.data.sources.values():
            if str(path := file_of(entry, config)) in absent and not entry.path and (entry.url or entry.hub):
                wanted[path] = entry
    from sft_sweeps.data import ready

    failed = ready.fetch(wanted, out)
    return len(failed) < len(wanted), {str(path): text for path, text in failed.items()}


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
    from sft_sweeps.data import encodings

    return encodings.notes(plan, store)


def _files(job: Job) -> bool:
    """Whether a job may read a source's file."""
    mixture = getattr(job.subject, "mixture", None)
    used = [c.source for c in mixture.components] if job.kind == "train" and mixture else []
    used += [g.benchmark.source for g in job.generations if job.kind == "generate" and g.benchmark.source]
    return any(source.rows_from != "generated" for source in used)


def _name(encoding: Encoding) -> str:
    there = Path(encoding.source.path).is_file()
    return encoding.source.name if there else f"{encoding.source.name} (to be fetched)"
