"""Representations of a sweep as its report has them: how far each model keeps the sources apart, and a map of all.

Models are compared that begin with the same base model, at one layer, on the same queries. What of them is not there is
said, and so is a file that cannot be trusted.
"""

import importlib.util
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_sweeps.analysis.representations import Separation, on_a_plane, separations
from sft_sweeps.plan.build import Plan
from sft_sweeps.report.messages import without_folders
from sft_sweeps.spec.evaluation import Representations
from sft_sweeps.store.answers import ITEMS, read_rows
from sft_sweeps.store.store import VECTORS, RecordError, Store

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

MOST = 4000  # points of one map: t-SNE of them takes half a minute
NEEDED = ("sklearn", "threadpoolctl")
INSTALL = "representations are not drawn: that needs scikit-learn, pip install 'sft-sweeps[representations]'"


@dataclass(frozen=True)
class Panel:
    """One model: how far it keeps the sources apart; where its queries lie, empty where no map was drawn."""

    subject: str
    label: str
    separation: Separation
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Represented:
    """Models of one base model, that itself first, with the same queries: the ids of these and the source of each."""

    model: str
    layer: int
    pooling: str
    dtype: str
    queries: tuple[str, ...]
    sources: tuple[str, ...]
    panels: tuple[Panel, ...]
    perplexity: float = 0.0
    seed: int = 0

    @property
    def drawn(self) -> bool:
        """Whether there is a map of them."""
        return all(panel.points for panel in self.panels)


def represented(plan: Plan, store: Store) -> tuple[tuple[Represented, ...], tuple[str, ...]]:
    """Every comparison that a plan's representations allow, and what is missing or wrong, in words."""
    groups: dict[Any, dict[str, list[Representations]]] = {}
    for one in plan.analyses:
        asked = one.queries
        key = (one.subject.model.id, one.layer, one.pooling, one.dtype, asked.template, asked.max_length, asked.seed)
        groups.setdefault((*key, asked.examples), {}).setdefault(one.subject.id, []).append(one)
    made, missing = [], list[str]()
    for by_subject in groups.values():
        found, lacking = _compared(plan, store, list(by_subject.values()))
        made += [found] if found else []
        missing += lacking
    if made and not all(map(importlib.util.find_spec, NEEDED)):
        missing.append(INSTALL)
    return tuple(made), tuple(missing)


def _compared(
    plan: Plan, store: Store, subjects: Sequence[Sequence[Representations]]
) -> tuple[Represented | None, list[str]]:
    """The models whose representations of every source are there; those that ask the same queries as the first."""
    read: dict[str, tuple[Vectors, list[str], list[str]]] = {}
    missing: list[str] = []
    for wanted in subjects:
        try:
            read[wanted[0].subject.id] = _read(wanted, store)
        except _MissingError as error:
            why = without_folders(str(error), store)
            missing.append(f"representations of {plan.labels[wanted[0].subject.id]}: {why}")
    if not read:
        return None, missing
    first, (_, queries, sources) = subjects[0][0], next(iter(read.values()))
    alike = {key: vectors for key, (vectors, ids, _) in read.items() if ids == queries}
    missing += [f"representations of {plan.labels[key]}: of other queries" for key in read if key not in alike]
    labels = {run.id: run.label for run in plan.runs}
    apart = separations(list(alike.values()), sources)
    panels = [
        Panel(key, labels.get(key, f"{plan.labels[key]} (base)"), one) for key, one in zip(alike, apart, strict=True)
    ]
    found = Represented(
        first.subject.model.name,
        first.layer,
        first.pooling,
        first.dtype,
        tuple(queries),
        tuple(sources),
        tuple(panels),
    )
    return _mapped(found, list(alike.values())), missing


def _mapped(found: Represented, vectors: "Sequence[Vectors]") -> Represented:
    """With a map of all models, where scikit-learn is installed and they are not too many for one."""
    if sum(map(len, vectors)) > MOST or not all(map(importlib.util.find_spec, NEEDED)):
        return found
    plane = on_a_plane(vectors)
    panels = (replace(panel, points=points) for panel, points in zip(found.panels, plane.points, strict=True))
    return replace(found, panels=tuple(panels), perplexity=plane.perplexity, seed=plane.seed)


class _MissingError(Exception):
    """Representations cannot be read; the text says why."""


def _read(wanted: Sequence[Representations], store: Store) -> "tuple[Vectors, list[str], list[str]]":
    """A model's vectors of all sources, the ids of the queries, the source of each."""
    import numpy as np

    vectors, queries, sources = [], list[str](), list[str]()
    for one in wanted:
        name = one.queries.source.name
        record = None
        with suppress(RecordError):
            record = store.record(one)
        if record is None:
            raise _MissingError(f"not taken of {name} yet")
        folder = store.read_folder(one)
        try:
            rows, found = read_rows(folder / ITEMS), np.load(folder / VECTORS, allow_pickle=False)
            ids = [str(row["id"]) for row in rows]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _MissingError(_untrusted(folder, error)) from error
        if found.ndim != 2 or len(found) != len(ids) or not np.issubdtype(found.dtype, np.floating):
            raise _MissingError(_untrusted(folder, f"{found.shape} vectors of {len(ids)} queries"))
        if not np.isfinite(found).all():
            raise _MissingError(_untrusted(folder, "they are no finite numbers"))
        vectors.append(found)
        queries += ids
        sources += [name] * len(ids)
    if len({one.shape[1] for one in vectors}) > 1:
        raise _MissingError("their sources have vectors of different widths")
    return np.concatenate(vectors), queries, sources


def _untrusted(folder: Path, why: object) -> str:
    return f"what is in {folder} of the store cannot be trusted ({why}); remove that folder and launch again"
