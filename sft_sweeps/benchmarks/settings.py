"""The text of `conf/evaluate` and `conf/benchmark`: keys that all benchmarks share, and those that most of them have.

Plain dataclasses, which `config.schema` puts together: a benchmark's settings lie under `evaluate.NAME`. Their fields
are text, numbers, switches, lists and mappings of those, other such dataclasses, or None: what OmegaConf can hold.
"""

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sft_sweeps.spec import Component


@dataclass
class EvaluateConfig:
    """Which benchmarks, on how many items; `stages` is `all`, or `final` for each run's last model only.

    `examples` is the number of items of the miniature's benchmarks and of held-out losses; of published ones it is a
    limit, and 0 asks all. `engine_python` is the interpreter that has vLLM, "" this one. Every benchmark with settings
    has a key of its own besides: `evaluate.gsm8k`.
    """

    benchmarks: list[str] = field(default_factory=list)
    examples: int = 0
    seed: int = 0
    stages: str = "final"
    max_new_tokens: int = 0
    engine: str = "hf"
    engine_version: str = "5"
    engine_python: str = ""
    batch_size: int = 64


@dataclass
class BenchmarkConfig:
    """A published benchmark: its pinned `file` in the data folder, or the user's own `path`.

    `ability` is the benchmark's own where it is empty; `style` is how an item is asked, `samples` how often;
    temperature 0 is greedy.
    """

    ability: str = ""
    path: str | None = None
    file: str = ""
    content: str = ""
    rows: int = 0
    style: str = "query"
    samples: int = 1
    temperature: float = 0.0
    max_new_tokens: int = 512


@dataclass(frozen=True)
class EvaluatedPoint:
    """What a benchmark may read of a sweep's point besides its own settings, to say exactly what is asked.

    `template` and `max_length` (in tokens) are those that the stages are trained with; `folder` holds data files.
    """

    evaluate: EvaluateConfig
    components: tuple[Component, ...]
    template: str
    max_length: int
    folder: Path


def one_of(key: str, value: str, valid: tuple[str, ...]) -> Iterator[str]:
    """The problem with a value that is none of the valid ones."""
    if value not in valid:
        close = difflib.get_close_matches(value, valid, n=1)
        hint = f"; did you mean {key}={close[0]}?" if close else ""
        yield f"{key}={value} is unknown; valid: {', '.join(valid)}{hint}"


def at_least(key: str, value: float, least: float = 1) -> Iterator[str]:
    """The problem with a number that is too small, infinite or none."""
    if not least <= value < math.inf:
        yield f"{key}={value} must be a number of at least {least}"
