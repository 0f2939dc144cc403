"""Scores as the hub reads them: `.eval_results/NAME.yaml`, and `model-index` in the card's header for older readers.

A file of `.eval_results` names a benchmark's data set of the hub, and the hub ranks by it: it is written where all of
the published items were asked, and for no other score. The header and the card have every score. Shares are in percent.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.benchmarks.base import OnHub
from sft_sweeps.benchmarks.registry import definition_of
from sft_sweeps.commands.publish.evidence import ScoreLine
from sft_sweeps.report.page import text
from sft_sweeps.spec.evaluation import Benchmark

NAMES = {"accuracy": "accuracy", "pass@1": "pass@1", "rating": "rating, 1 to 10", "loss": "loss, nats a token"}
FOLDER = ".eval_results"


def on_hub(benchmark: Benchmark) -> OnHub | None:
    """The hub's data set of a benchmark, where its items are the published ones."""
    definition = definition_of(benchmark)
    published = getattr(definition.settings() if definition.settings else None, "content", "")
    return definition.on_hub if published and published == benchmark.content else None


def files(lines: Sequence[ScoreLine]) -> dict[str, str]:
    """The texts of `.eval_results`, by name; of several protocols of a benchmark the first one's."""
    found: dict[str, str] = {}
    for line, text_ in _files(lines):
        found.setdefault(f"{FOLDER}/{line.score.generation.benchmark.name}.yaml", text_)
    return found


def _files(lines: Sequence[ScoreLine]) -> Iterator[tuple[ScoreLine, str]]:
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    for line in lines:
        where, scored = on_hub(line.score.generation.benchmark), line.scored
        if where is None or scored.n < line.total:
            continue
        notes, value = note(line), _rounded(line.observed, scored.value)
        date = line.finished.partition("T")[0] or None
        entry = EvalResultEntry(where.dataset, where.task, value, date=date, notes=notes)
        yield line, yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, width=10_000)


def note(line: ScoreLine) -> str:
    """How a score was made, in a line."""
    one, generation = line.observed, line.score.generation
    low, high = (f"{text.scaled(one, end):.{text.digits(one)}f}" for end in (one.low, one.high))
    counted = f"{line.scored.k} of {one.n} right" if line.scored.k is not None else f"n={one.n}"
    sampled = generation.benchmark.temperature > 0
    decoding = f"temperature {generation.benchmark.temperature:g}" if sampled else "greedy"
    judge = f", judged by {generation.benchmark.judge.model}" if generation.benchmark.judge else ""
    asked = f"{decoding}, zero-shot" if generation.benchmark.generates else "loss on held-out examples"
    made = f"sft-sweeps {__version__}, scorer {line.score.scorer} version {line.score.version}"
    return f"{counted}, 95 % interval {low} to {high}; {asked}{judge}; {made}"


def model_index(lines: Sequence[ScoreLine]) -> list[Any]:
    """The scores as huggingface_hub makes a `model-index` of them."""
    from huggingface_hub import EvalResult

    return [EvalResult(**_flat(line)) for line in lines]


def _flat(line: ScoreLine) -> dict[str, Any]:
    one, benchmark = line.observed, line.score.generation.benchmark
    where, name = on_hub(benchmark), text.title(benchmark.name)
    return {
        "task_type": "text-generation",
        "dataset_type": where.dataset if where else benchmark.name,
        "dataset_name": name,
        "dataset_config": where.config if where else None,
        "dataset_split": where.split if where else None,
        "metric_type": one.metric,
        "metric_name": NAMES.get(one.metric, one.metric) + (" (percent)" if one.share else ""),
        "metric_value": _rounded(one, one.value),
        "metric_args": {"n": one.n, "low": _rounded(one, one.low), "high": _rounded(one, one.high)},
    }


def _rounded(one: Observation, value: float) -> float:
    """As it is shown, with digits enough to tell k of n."""
    return round(text.scaled(one, value), 4)
