"""What a reader must know before believing the page: what is missing, broken, or not to be put side by side."""

import contextlib
from collections.abc import Iterator, Sequence

from sft_sweeps.analysis.observations import grouped, mixed_protocols
from sft_sweeps.identity import differences
from sft_sweeps.report.messages import without_folders
from sft_sweeps.report.observe import asked_of, protocol_of
from sft_sweeps.report.page import text
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.report.replicates import points, seed_of
from sft_sweeps.terminal import counted

SHOWN = 4
BROKEN = ("failed", "corrupted", "weights gone")


def notes(sweeps: Sequence[Evidence]) -> list[str]:
    """Of all sweeps of a page, each once."""
    found = [*_protocols(sweeps)]
    for sweep in sweeps:
        of = f"{sweep.name}: " if len(sweeps) > 1 else ""
        found += [of + note for note in _of_sweep(sweep)]
    return list(dict.fromkeys(found))


def _of_sweep(sweep: Evidence) -> Iterator[str]:
    yield from _seeds(sweep)
    yield from _unread(sweep)
    yield from _states(sweep)
    yield from sweep.results.fewer
    yield from sweep.results.unrepresented
    yield from _other_items(sweep)


def _protocols(sweeps: Sequence[Evidence]) -> Iterator[str]:
    """Benchmarks that are scored by several protocols, with what these differ in."""
    asked = {protocol_of(score): asked_of(score) for sweep in sweeps for score in sweep.plan.scores}
    for name, found in mixed_protocols([one for sweep in sweeps for one in sweep.observations]).items():
        first, *others = found
        for other in others:
            changed = differences(asked[first], asked[other])
            shown = "; ".join(changed[:SHOWN]) + (" ..." if len(changed) > SHOWN else "")
            yield (
                f"{text.title(name)} is scored by two protocols ({first[:6]} and {other[:6]}), which share no axis and "
                f"are not compared. They differ in {shown}"
            )


def _seeds(sweep: Evidence) -> Iterator[str]:
    """Points with several seeds of which some are not scored."""
    scored = {(one.run, one.benchmark) for one in sweep.observations if one.final}
    planned = {(s.generation.subject.id, s.generation.benchmark.name) for s in sweep.plan.scores}
    for point in points(sweep.plan):
        for benchmark in sweep.results.benchmarks:
            runs = [run for run in point.runs if (run.id, benchmark) in planned]
            lacking = [run for run in runs if (run.id, benchmark) not in scored]
            if 0 < len(lacking) < len(runs):
                seeds = ", ".join(str(seed_of(run)) for run in lacking)
                have = f"{len(runs) - len(lacking)} of {len(runs)} training seeds"
                yield f"{point.label} has {have} on {text.title(benchmark)}: seed {seeds} is missing"


def _other_items(sweep: Evidence) -> Iterator[str]:
    """Replicates of one protocol that are of different items, which are no cell."""
    alike = grouped(sweep.cells, lambda cell: (cell.setting, cell.first.benchmark, cell.first.protocol))
    for of in alike.values():
        if len(of) > 1:
            named = " and ".join(cell.label for cell in of)
            yield f"{named} are scored on different items of {text.title(of[0].first.benchmark)}, so are no replicates"


def _unread(sweep: Evidence) -> Iterator[str]:
    """Scores whose verdicts cannot be read: they are shown, and cannot be compared item by item."""
    lost = [score for score in sweep.plan.scores if sweep.scores.record(score) and not sweep.scores.values(score)]
    if lost:
        first = f"{lost[0].generation.benchmark.name} of {lost[0].generation.subject.label}"
        yield (
            f"the verdicts of {counted(len(lost), 'score')} cannot be read (e.g. {first}): shown by their records, "
            "and not compared item by item"
        )


def _states(sweep: Evidence) -> Iterator[str]:
    """Work that did not end well."""
    for state in BROKEN:
        labels = [(s.id, sweep.plan.labels[s.id]) for s in sweep.plan.subjects if _state(sweep, s.id) == state]
        if labels and state != "weights gone":
            why = without_folders(sweep.survey.states[labels[0][0]].why, sweep.survey.store)
            yield f"{counted(len(labels), 'stage')} {state}: {labels[0][1]} ({why})"


def _state(sweep: Evidence, key: str) -> str:
    with contextlib.suppress(KeyError):
        return sweep.survey.states[key].state
    return "missing"
