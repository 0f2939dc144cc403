"""What a run is called, what tells it from namesakes, and which command lines are the same run."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from sft_sweeps.plan.labels import short_names
from sft_sweeps.plan.request import Request
from sft_sweeps.strategies import uses_k


def label(request: Request) -> str:
    """A row's name: model, ability or strategy, k, and fractions that are not 1."""
    abilities = list(dict.fromkeys(c.source.ability for c in request.components))
    single = request.strategy != "base" and len(abilities) == 1
    parts = [request.model.name, f"{abilities[0]} only" if single else request.strategy]
    if request.k is not None and uses_k(request.strategy):
        parts.append(f"k={request.k}")
    fractions = {c.fraction for c in request.components}
    named = short_names(request.components)
    if request.strategy != "base" and fractions != {Fraction(1)}:
        shown = [f"{named[c.source.name]} {c.fraction}" for c in request.components if c.fraction != 1]
        parts.append(f"({fractions.pop()})" if len(fractions) == 1 else f"({', '.join(shown)})")
    if limits := {c.limit for c in request.components if c.limit is not None}:
        parts.append(f"limit {limits.pop():,}")
    parts += [f"{named[c.source.name]} x{c.repeat}" for c in request.components if c.repeat > 1]
    parts += [f"{named[c.source.name]} weight {c.weight}" for c in request.components if c.weight != 1]
    parts += [request.recipe.order] if request.recipe.order != "shuffled" else []
    if request.recipe.adapter and request.strategy != "base":
        parts.append(request.recipe.adapter.words)
    if request.recipe.seed:
        parts.append(f"seed={request.recipe.seed}")
    return " ".join(parts)


def own(runs: Sequence[tuple[str, str, str]]) -> list[str]:
    """A label of its own for each run, given as (label, command line, id).

    Where labels collide, what only one's command line says is added.
    """
    lines: dict[str, list[str]] = {}
    for shown, line, _ in runs:
        lines.setdefault(shown, []).append(line)
    shared = {shown: _common(of) for shown, of in lines.items()}
    found: dict[str, None] = {}
    for shown, line, run_id in runs:
        words = [word for word in line.split() if word not in shared[shown]]
        told = [word for word in words if not word.startswith("study=")]  # what it is, before where it is listed
        many = len(lines[shown]) > 1
        labels = [" ".join([shown, *more]) for more in ((told, words) if many else ((),))]
        found[next((one for one in labels if one not in found), f"{labels[-1]} {run_id}")] = None
    return list(found)


def same(points: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Which points, given by their run's label, are the same run; of rows of several studies how many, and one."""
    common = _common([line for lines in points.values() for line in lines])
    listed: list[str] = []
    for shown, lines in points.items():
        studies = dict.fromkeys(word for line in lines for word in line.split()[:1] if word.startswith("study="))
        if len(studies) > 1:
            listed.append(f"{shown} ({', '.join(word.removeprefix('study=') for word in studies)})")
        elif len(lines) > 1:
            telling = [" ".join(word for word in line.split() if word not in common) for line in lines]
            named = f": {'; '.join(telling)}" if any(telling) else ""
            yield f"{len(lines)} points are the same run, {shown}{named}"
    if listed:
        yield f"{len(listed)} runs are rows of several studies, e.g. {listed[0]}"


def _common(lines: Sequence[str]) -> set[str]:
    """The overrides that all command lines share, which tell none from another."""
    return set.intersection(*(set(line.split()) for line in lines)) if len(lines) > 1 else set()
