"""Scores as a report reads them: each record and each score's verdicts once, whatever asks for them how often."""

import contextlib
from collections.abc import Mapping
from typing import Any

from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.errors import RequestError
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.store.answers import VERDICTS, read_rows
from sft_sweeps.store.store import RecordError, Store
from sft_sweeps.store.survey import Survey

Values = Mapping[str, float | bool]


class Scores:
    """Records and values of a store's scores; with a survey of the store, what that has read is not read again."""

    def __init__(self, store: Store, surveyed: Survey | None = None) -> None:
        self.store = store
        self._records: dict[str, Mapping[str, Any] | None] = {}
        if surveyed:
            self._records = {score.id: surveyed.records.get(score.id) for score in surveyed.plan.scores}
        self._values: dict[str, tuple[tuple[str, ...], tuple[float | bool, ...]]] = {}
        self._categories: dict[str, Mapping[str, str]] = {}
        self._items: dict[tuple[str, ...], tuple[str, ...]] = {}  # a benchmark's are kept once, not for each model

    @staticmethod
    def of(store: "Store | Scores") -> "Scores":
        return store if isinstance(store, Scores) else Scores(store)

    def record(self, score: Score) -> Mapping[str, Any] | None:
        """What the record of a done score says beyond its identity; None where it is not done."""
        if score.id not in self._records:
            found = None
            with contextlib.suppress(RecordError):
                found = self.store.record(score)
            self._records[score.id] = found and {key: value for key, value in found.items() if key != "payload"}
        return self._records[score.id]

    def unjudged(self, score: Score) -> bool:
        """Whether the answers are there and lack nothing but their judge's grades."""
        if score.generation.benchmark.judge is None or self.record(score) is not None:
            return False
        with contextlib.suppress(RecordError):
            return self.store.record(score.generation) is not None
        return False

    def values(self, score: Score | None) -> Values:
        """An item's value as its benchmark has it; none where it is not scored, or its benchmark is not installed."""
        if score is None or self.record(score) is None:
            return {}
        if score.id not in self._values:
            read = self._read(score)
            items = tuple(read)
            self._values[score.id] = self._items.setdefault(items, items), tuple(read.values())
        return dict(zip(*self._values[score.id], strict=True))

    def categories(self, score: Score) -> Mapping[str, str]:
        """The category of each item, where the benchmark's verdicts name one."""
        self.values(score)
        return self._categories.get(score.id, {})

    def _read(self, score: Score) -> Values:
        with contextlib.suppress(RequestError, OSError, ValueError, KeyError, ZeroDivisionError):
            verdicts = read_rows(self.store.read_folder(score) / VERDICTS)
            named = {str(row["item"]): str(row["category"]) for row in verdicts if row.get("category")}
            self._categories |= {score.id: named} if named else {}
            return definition_of(score.generation.benchmark).item_values(verdicts)
        return {}
