"""The text of `conf/evaluate` and `conf/benchmark`: keys that all benchmarks share, and those that most of them have.

Plain dataclasses, which `config.schema` puts together: a benchmark's settings lie under `evaluate.NAME`. Their fields
are text, numbers, switches, lists and mappings of those, other such dataclasses, or None: what OmegaConf can hold.
"""

from dataclasses import dataclass, field
from pathlib import Path

from sft_sweeps.plan.engines import ENGINES
from sft_sweeps.ranges import at_least, one_known, one_of
from sft_sweeps.spec.data import Component


@dataclass
class EvaluateConfig:
    """Which benchmarks, on how many items, and of which models.

    `stages` is `final` for each run's last model only, `specialized` for that and the one which its first stage with
    general data starts from (DMT's after code and math), `all` for the model after every stage. `base` scores the base
    model too.

    `examples` is the number of items of the miniature's benchmarks and of held-out losses; of published ones it is a
    limit, and 0 asks all. `unscored` says that training without any score is meant. `engine_python` is the interpreter
    that has vLLM, "" this one. While a stage trains, the loss on the last `heldout_examples` of each source is taken
    every `heldout_every` steps and after the last (0: never). Every benchmark with settings has a key of its own
    besides: `evaluate.gsm8k`.
    """

    benchmarks: list[str] = field(default_factory=list)
    unscored: bool = False
    examples: int = 0
    seed: int = at_least(0, default=0)
    stages: str = one_of("all", "specialized", "final", default="final")
    base: bool = False
    max_new_tokens: int = 0
    engine: str = one_known(lambda: ENGINES.names, default="hf")
    engine_version: str = "5"
    engine_python: str = ""
    batch_size: int = at_least(1, default=64)
    heldout_every: int = at_least(0, default=0)
    heldout_examples: int = at_least(1, default=64)


@dataclass
class BenchmarkConfig:
    """A published benchmark: its pinned `file` in the data folder, fetched from `url`, or the user's own `path`.

    `ability` is the benchmark's own where it is empty; `style` is how an item is asked, `samples` how often;
    temperature 0 is greedy.
    """

    ability: str = ""
    path: str | None = None
    file: str = ""
    url: str = ""
    content: str = ""
    rows: int = 0
    style: str = one_of("query", default="query")
    samples: int = at_least(1, default=1)
    temperature: float = at_least(0, default=0.0)
    max_new_tokens: int = at_least(1, default=512)


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
