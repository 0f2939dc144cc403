"""The text schema of `conf/`: dataclasses that Hydra composes YAML into; `Config` is the whole.

Exact values are made of them once, in `resolve`; nothing below sees a DictConfig. Fractions are text here: OmegaConf
cannot hold a Fraction, and `1/4` must stay exact. What a value may be is declared beside its field
(sft_sweeps/ranges.py), what it means below it, where the name does not say so.
"""

from dataclasses import dataclass, field, make_dataclass
from functools import cache

from sft_sweeps.benchmarks.registry import definitions
from sft_sweeps.benchmarks.settings import EvaluateConfig
from sft_sweeps.config.analysis_schema import AnalysisConfig
from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.config.plan_checks import deadline
from sft_sweeps.config.source_schema import DataConfig
from sft_sweeps.config.train_schema import DeepspeedConfig, ModelConfig, StrategyConfig, TrainConfig
from sft_sweeps.ranges import above, at_least, checked, folder_name, one_known, one_of
from sft_sweeps.sandbox import layers
from sft_sweeps.tracking.trackers import TRACKERS


@dataclass
class TrackingConfig:
    """Where metrics are shown besides metrics.jsonl."""

    name: str = one_known(lambda: TRACKERS.names, default="none")
    project: str | None = None
    """null: the study's name."""
    entity: str | None = None
    """A user or team of W&B's; null: the key's own."""
    mode: str = one_of("auto", "online", "offline", default="auto")
    """`auto` is online where a key is found."""


@cache
def _evaluate_type() -> type[EvaluateConfig]:
    own = [(name, one.settings) for name, one in definitions().items() if one.settings]
    keys = [(name, settings, field(default_factory=settings)) for name, settings in own]
    return make_dataclass("EvaluateConfig", keys, bases=(EvaluateConfig,), namespace={"__module__": __name__})


def evaluate_config() -> EvaluateConfig:
    """The keys that benchmarks share, and `evaluate.NAME` for each benchmark that has settings of its own."""
    return _evaluate_type()()


@dataclass
class SandboxConfig:
    """How programs that models wrote are run: see sft_sweeps/sandbox/run.py and `sft-sweeps doctor sandbox`."""

    isolation: str = one_known(lambda: layers.MODES, default="auto")
    """`auto` is every layer that works here, `kernel` those without bubblewrap, else one layer or `none`."""
    require: list[str] = one_known(lambda: tuple(layers.PROPERTIES), default=list(layers.DEFAULT_REQUIRE))
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
class HypothesisConfig:
    """That some runs score better than others: see sft_sweeps/plan/hypotheses.py."""

    claim: str = ""
    benchmark: str = ""
    better: str = ""
    """The overrides that name the better runs: strategy=dmt strategy.k=1/256"""
    than: str = ""
    """Those of the runs that they are compared with, each with the one that is the same in all else."""


@dataclass
class StudyConfig:
    """A research question and its grids."""

    name: str = folder_name(default="")
    question: str = ""
    grid: list[str] = field(default_factory=list)
    """Each a line of overrides that one would type; `study=table1` has that study's rows, as its own file says."""
    hypotheses: list[HypothesisConfig] = field(default_factory=list)
    """What is claimed in advance, and frozen with the plan; other comparisons are exploratory. No part of any id."""


@dataclass
class GridConfig:
    """Axes that `grid=NAME` adds to every line of a study."""

    axes: str = ""


@dataclass
class PlanConfig:
    """What becomes of the plan besides being shown."""

    output: str | None = None
    """A file that the plan is written to as JSON."""
    measure: bool = True
    """With action=plan, for stages that this machine's cores would train: try a step, and say how long they take."""
    json: bool = False
    """What comes of it as JSON on standard output, as `--json` asks, and all text on standard error."""
    gpus: int = at_least(0, default=0)
    """GPUs that the whole sweep may use: each stage gets some of them (plan/packing.py); 0: model.gpus each."""
    deadline: str = checked(deadline, default="")
    """From its start to its end; empty: as long as the fewest GPU-hours take."""
    network_gb: float = above(0, 200.0, example="25")
    """GB/s that a node sends to another while a stage trains on several; one link of 200 Gb/s is 25."""


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
    evaluate: EvaluateConfig = field(default_factory=evaluate_config)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
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

    evaluate_config()  # here first: OmegaConf would add lines of its own to what a distribution's benchmark raises
    ConfigStore.instance().store(name="schema", node=Config)
    # Hydra copies its sources, and with them this singleton, for every line of --help: a second in all. What it loads
    # from the store it copies anyway.
    ConfigStore.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined]
