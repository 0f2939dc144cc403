"""A benchmark of another distribution: sums, of which the answer must hold the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sft_sweeps.benchmarks import published
from sft_sweeps.benchmarks.base import BenchmarkDefinition, ScoringContext
from sft_sweeps.benchmarks.item import Item, Verdict
from sft_sweeps.benchmarks.scored import Row, ScoringResult, from_verdicts
from sft_sweeps.benchmarks.settings import BenchmarkConfig
from sft_sweeps.spec.evaluation import Benchmark


@dataclass
class SumsConfig(BenchmarkConfig):
    """Short answers."""

    max_new_tokens: int = 8


def items(benchmark: Benchmark) -> list[Item]:
    """A line of the file each."""
    rows = published.rows(benchmark)
    return [Item(f"sums/{n}", (str(row["question"]),), {"answer": row["answer"]}) for n, row in enumerate(rows)]


def score(rows: Sequence[Row], items: Mapping[str, Item], context: ScoringContext) -> ScoringResult:
    """Right where the result is in the answer."""
    verdicts = [
        Verdict(row["id"], str(items[row["id"]].gold["answer"]) in row["answers"][0], "looked for") for row in rows
    ]
    return from_verdicts(verdicts, context.benchmark.total)


SUMS = BenchmarkDefinition(name="sums", version=1, ability="math", settings=SumsConfig, items=items, score=score)
