"""The text schema of `conf/cluster`: where a sweep runs, and what each kind of job asks Slurm for."""

from dataclasses import dataclass, field

from sft_sweeps.config.slurm_texts import gpu_type, memory_size, module_name, shell_command, srun_flag, time_limit
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.ranges import at_least, checked, one_of


@dataclass
class KindConfig:
    """What one kind of job asks Slurm for in place of the cluster's own: null inherits, "" asks for nothing."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str | None = checked(time_limit, default=None)
    memory: str | None = checked(memory_size, default=None)
    """Of a node."""
    cpus: int | None = at_least(1, default=None)
    """Of each of its processes."""
    sbatch: dict[str, str] = field(default_factory=dict)
    """More flags for sbatch, besides and before those of `cluster.sbatch`; "" takes one of these back."""


def _kinds() -> dict[str, KindConfig]:
    return {kind: KindConfig() for kind in KINDS}


@dataclass
class ClusterConfig:
    """Where a sweep runs. conf/cluster/slurm.yaml says what a site sets."""

    name: str = "local"
    """A launcher's (launch/launchers.py, which checks it); `auto` is Slurm where a cluster answers, else `local`."""
    jobs: int = at_least(0, default=0)
    """On this machine, jobs at the same time; 0: as many as the cores carry."""
    processes: int = at_least(1, default=1)
    """Of one training stage of a model without GPUs; others have one for each GPU."""
    threads: int | None = at_least(1, default=None)
    """Of one process; null: one, and on this machine a stage of a model that is no miniature gets the spare cores."""
    save_every_seconds: float = at_least(0, default=60.0)
    """Seconds between resume states; 0: not by time."""
    save_every_steps: int = at_least(0, default=0)
    """Steps between resume states; 0: not by steps."""
    nodes: int = at_least(1, default=1)
    """Over which the `processes` of a model without GPUs spread."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = checked(time_limit, default="24:00:00")
    """The limit of one start of a job; a longer job saves and is queued again."""
    memory: str | None = checked(memory_size, default=None)
    """Of a whole node; a job on some of its GPUs asks for its share."""
    cpus_per_gpu: int = at_least(1, default=8)
    gpus_per_node: int = at_least(1, default=8)
    gpu_type: str = checked(gpu_type, default="")
    gpu_request: str = one_of("gpus_per_node", "gres", "gpus_per_task", "none", default="gpus_per_node")
    """The flag of sbatch's by which GPUs are asked for; none: the site gives them by the partition."""
    gpu_memory_gb: float = at_least(1, default=80.0)
    """Of one GPU; a model that does not fit answers on several."""
    replicas: int = at_least(0, default=0)
    """Of a model that answer side by side; 0: one in a job of Slurm's, here as many as the GPUs have room for."""
    max_running: int = at_least(1, default=256)
    """Elements of one array at the same time."""
    max_submitted: int = at_least(0, default=0)
    """Jobs of the user in Slurm's queue at one time; 0: as many as the site's limits allow."""
    until_done: bool = False
    """`sft-sweeps launch --until-done`: stay, and submit what did not fit or was preempted."""
    signal_seconds: int = at_least(1, default=120)
    """The warning before the time limit."""
    modules: list[str] = checked(module_name, default=[])
    setup: list[str] = field(default_factory=list)
    """Lines of the batch script before the work."""
    container: str = checked(shell_command("apptainer exec --nv /images/torch.sif"), default="")
    """A command that runs another inside a container."""
    python: str = checked(shell_command("/opt/env/bin/python"), default="")
    """The interpreter on the nodes; empty: the one that launches."""
    sbatch: dict[str, str] = field(default_factory=dict)
    """More flags for sbatch, without leading dashes."""
    srun: list[str] = checked(srun_flag, default=[])
    """More flags for srun."""
    trusted_uids: list[int] = field(default_factory=list)
    """Owners of the files that jobs run, besides the submitter and root."""
    kinds: dict[str, KindConfig] = field(default_factory=_kinds)


def least_threads(cluster: ClusterConfig) -> int:
    """The threads of one process that gets no spare cores."""
    return cluster.threads or 1


def setup_lines(cluster: ClusterConfig) -> list[str]:
    """Lines of the batch script: a job whose environment cannot be set up fails here, and says which line."""
    lines = []
    if cluster.modules:  # batch shells do not always know the command
        load = f"module load {' '.join(cluster.modules)} || exit 1"
        lines = ["command -v module > /dev/null || . /etc/profile", load]
    return [*lines, "set -e", *cluster.setup, "set +e"] if cluster.setup else lines
