"""What a benchmark is to this program: one `BenchmarkDefinition`, made of functions in the benchmark's own module.

A new benchmark is one module with `DEFINITIONS = (BenchmarkDefinition(...),)` in this package, or an entry point of
the group `sft_sweeps.benchmarks` in another distribution, and one file `conf/benchmark/NAME.yaml`. One that comes as a
file of items needs a name, a version, settings (a subclass of `BenchmarkConfig`), `items` and `score`; the rest has
defaults.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks import published
from sft_sweeps.benchmarks.item import Item
from sft_sweeps.benchmarks.judging import Grader, Grading
from sft_sweeps.benchmarks.scored import Row, ScoringResult
from sft_sweeps.benchmarks.settings import EvaluateConfig, EvaluatedPoint
from sft_sweeps.execution import Isolation
from sft_sweeps.spec.evaluation import Benchmark, Generation, Judge

ItemValues = Mapping[str, float | bool]


@dataclass(frozen=True)
class ScoringContext:
    """What scoring may use besides answers: what was asked, exactly; the sandbox's isolation; a client for a judge.

    `stop` says whether the job was asked to stop.
    """

    benchmark: Benchmark
    isolation: Isolation
    grader: Callable[[Judge], Grader]
    stop: Callable[[], bool]


@dataclass(frozen=True)
class FileScoring:
    """What `sft-sweeps score NAME FILE` was asked for.

    `options` has `partial`, `out` and the benchmark's own; `grader` makes a judge's client with a folder for its
    replies; `progress_bar` shows what is counted.
    """

    path: Path
    options: argparse.Namespace
    grader: Callable[[Judge, Path], Grader]
    progress_bar: Callable[[str], AbstractContextManager[Callable[[int], None]]]

    @property
    def partial(self) -> bool:
        """Whether a set that is not complete is scored too."""
        return bool(self.options.partial)


@dataclass(frozen=True)
class OnHub:
    """The data set of the Hugging Face hub that has a benchmark's published items.

    `task` is what the hub calls it among the tasks of that data set.
    """

    dataset: str
    config: str
    split: str
    task: str


def no_items(benchmark: Benchmark) -> Sequence[Item]:  # noqa: ARG001
    """Of a benchmark that asks nothing."""
    return ()


def no_export(generation: Generation, rows: Sequence[Row]) -> Mapping[str, Iterable[Row]]:  # noqa: ARG001
    """Of a benchmark whose answers no other program reads."""
    return {}


def no_gradings(rows: Sequence[Row], items: Mapping[str, Item], judge: Judge) -> Sequence[Grading]:  # noqa: ARG001
    """Of a benchmark that no judge grades."""
    return ()


def no_options(parser: argparse.ArgumentParser) -> None:
    """Of a benchmark whose command has none of its own."""


def right_or_wrong(verdicts: Sequence[Row]) -> ItemValues:
    """Each item's `correct`, or its mean where there are several samples of it."""
    return mean_by_item(verdicts, "correct")


def mean_by_item(verdicts: Sequence[Row], key: str) -> ItemValues:
    """An item's value under a key of its verdicts; where several have one (turns, samples, repeats), their mean."""
    by_item: dict[str, list[float | bool]] = {}
    for row in verdicts:
        if (value := row.get(key)) is not None:
            if not isinstance(value, bool | int | float) or not math.isfinite(value):
                raise ValueError(f"{key} of {row['item']} is {value}, no number")
            by_item.setdefault(str(row["item"]), []).append(value)
    return {item: values[0] if len(values) == 1 else sum(values) / len(values) for item, values in by_item.items()}


@dataclass(frozen=True, kw_only=True)
class BenchmarkDefinition:
    """A benchmark's name and functions (`spec.evaluation.Benchmark` is what a point asks of it: that is hashed).

    `version` is the scorer's: raised when a score's meaning changes, so that kept answers are scored again. `settings`
    is a dataclass, the keys under `evaluate.NAME`. `runs_code`: scoring runs programs that models wrote. `judged_turns`
    of each item are graded by a judge. `takes_losses`: the model is not asked, its loss on examples is taken.
    """

    name: str
    version: int
    score: Callable[[Sequence[Row], Mapping[str, Item], ScoringContext], ScoringResult]  # of answers, items by id
    items: Callable[[Benchmark], Sequence[Item]] = no_items  # all of them, in order; more than are asked is fine
    ability: str = ""
    settings: type[Any] | None = None
    problems: Callable[[str, Any, EvaluateConfig], Iterable[str]] = published.problems
    resolve: Callable[[str, Any, EvaluatedPoint], Iterable[Benchmark]] = published.resolve
    files: Callable[[str, Any, Path], Iterable[published.PinnedFile]] = published.files  # name, settings, data folder
    runs_code: bool = False
    takes_losses: bool = False
    judged_turns: int = 0
    gradings: Callable[[Sequence[Row], Mapping[str, Item], Judge], Sequence[Grading]] = no_gradings
    item_values: Callable[[Sequence[Row]], ItemValues] = right_or_wrong  # of verdicts, for paired comparisons
    export: Callable[[Generation, Sequence[Row]], Mapping[str, Iterable[Row]]] = no_export  # rows by file name
    from_file: Callable[[FileScoring], Row | None] | None = None  # None: it was asked for nothing but an estimate
    command_options: Callable[[argparse.ArgumentParser], None] = no_options
    on_hub: OnHub | None = None  # for the cards of published models

    @property
    def judged(self) -> bool:
        return self.judged_turns > 0
