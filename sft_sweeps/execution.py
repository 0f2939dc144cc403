"""How things run, never what they compute: in no identity. Records name it."""

from dataclasses import dataclass, field

from sft_sweeps.identity import EXECUTION


@dataclass(frozen=True, slots=True)
class TrainExecution:
    """How a stage is trained. The record names it.

    `threads` are torch's, of each process; a resumed stage keeps those that it began with. `token_budget` is the most
    tokens that one forward pass holds (a longer example alone excepted; 0: what the device holds, see train/budget.py);
    `offload` keeps the optimizer's states in the host's memory; `recompute` forgets activations and makes them again in
    the backward pass. A resume state is saved every `save_every_seconds` or `save_every_steps` (0: not by that
    measure), of which `keep` stay. A model of at most `whole_parameters` keeps full copies of its weights on every rank
    between steps: ZeRO then partitions gradients and optimizer states only. `merged`: beside an adapter, the merged
    model is written too. Losses are taken on the last `heldout_examples` of each source every `heldout_every` steps and
    after the last (0: never).
    """

    processes: int = 1
    threads: int = 1
    token_budget: int = 8192
    zero_stage: int = 3
    offload: bool = False
    recompute: bool = False
    whole_parameters: int = 1 << 28
    save_every_seconds: float = 60.0
    save_every_steps: int = 0
    keep: int = 2
    merged: bool = False
    heldout_every: int = 0
    heldout_examples: int = 64


@dataclass(frozen=True, slots=True)
class AnswerExecution:
    """How a model answers benchmarks: `generation_batch` prompts at a time, with so many torch `threads`.

    So many `replicas` of the model answer side by side (0: as many as the GPUs have room for, or one), vLLM's under the
    interpreter `engine_python` ("": the one that runs this).
    """

    threads: int = 1
    generation_batch: int = 64
    replicas: int = 0
    engine_python: str = ""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How programs that a model wrote are run: `mode` names layers of the sandbox, `require` properties it must have.

    `strict` runs checks in another process than the program; `accept` allows running without isolation.
    """

    mode: str = "auto"
    require: tuple[str, ...] = ()
    strict: bool = False
    accept: bool = False


Execution = TrainExecution | AnswerExecution | Isolation  # of one job, by its kind (jobs/kinds.py)


@dataclass(frozen=True, slots=True)
class Executions:
    """How the jobs of a launch run: those that train, those that answer, those that score."""

    train: TrainExecution = TrainExecution()
    answer: AnswerExecution = AnswerExecution()
    score: Isolation = Isolation()


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a stage's metrics are mirrored; `name` is a tracker's, `mode` is `auto`, `online` or `offline`.

    A `project` is a study's, a `group` a sweep's; `axes` are what people filter by, flat (tracking/layout.py).
    """

    name: str = field(default="none", metadata=EXECUTION)
    project: str = field(default="", metadata=EXECUTION)
    entity: str = field(default="", metadata=EXECUTION)
    mode: str = field(default="auto", metadata=EXECUTION)
    group: str = field(default="", metadata=EXECUTION)
    tags: tuple[str, ...] = field(default=(), metadata=EXECUTION)
    axes: tuple[tuple[str, str | int], ...] = field(default=(), metadata=EXECUTION)
