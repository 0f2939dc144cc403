"""Whether what a launch trains on and is scored with is here: sources, test files, encodings."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

from sft_sweeps.commands.doctor.asked_work import AskedWork
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.spec.data import Source

OF_MODELS = ("model=", "model.")  # what texts about models begin with


def asked(request: DoctorRequest) -> Iterator[Finding]:
    """Each source and benchmark of the launch that was typed, or of one without overrides."""
    asked_work = AskedWork(request)
    plan = asked_work.work.plan
    yield Finding("ok", "launch", f"{asked_work.what}; runs: {len(plan.runs):,}, stages: {len(plan.stages):,}")
    texts = [text for text in asked_work.problems if not text.startswith(OF_MODELS)]
    level = asked_work.level
    used = dict.fromkeys(c.source for stage in plan.stages for c in stage.mixture.components)
    for source in used:
        key = f"data.sources.{source.slot}"  # of math, not of math2
        if not any(text.startswith((f"{key}:", f"{key}.", f"source {source.name}:")) for text in texts):
            yield _source(source, asked_work)
    for name, path in {g.benchmark.name: g.benchmark.path for g in plan.generations if g.benchmark.path}.items():
        if Path(path) in asked_work.fetched:
            yield _fetched(name, path, asked_work)
        elif Path(path).is_file():
            yield Finding("ok", name, path)
    for text in texts:
        about, _, rest = text.partition(": ")
        yield Finding(level, about, rest) if rest and " " not in about else Finding(level, "data", text)
    yield from _encoding(asked_work)


def _source(source: Source, asked_work: AskedWork) -> Finding:
    """One that nothing is wrong with, or that a launch fetches."""
    if source.rows_from == "generated":
        return Finding("ok", source.name, f"{source.rows:,} rows, made here from a seed")
    if Path(source.path) in asked_work.fetched:
        return _fetched(source.name, source.path, asked_work)
    return Finding("ok", source.name, f"{source.rows:,} rows, {source.path}")


def _fetched(name: str, path: str, asked_work: AskedWork) -> Finding:
    entry = asked_work.fetched[Path(path)]
    text = f"not here yet; a launch fetches it from {urlparse(entry.url).hostname if entry.url else entry.hub}"
    return Finding("warning", name, text, f"beforehand, where there is a network: {asked_work.what} action=prepare")


def _encoding(asked_work: AskedWork) -> Iterator[Finding]:
    """What is still to be encoded, which a launch does first."""
    lacking = [encoding for job in asked_work.work.jobs for encoding in job.encodings]
    if lacking:
        names = ", ".join(dict.fromkeys(encoding.source.name for encoding in lacking))
        yield Finding("ok", "encoding", f"a launch encodes first: {names}")
