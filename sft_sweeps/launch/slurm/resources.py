"""What a job asks Slurm for: from its kind, its model and `cluster.*`.

    kind              nodes                       processes                     GPUs
    train             GPUs / GPUs of a node       one for each GPU              the model's, or as packed
    train, no GPUs    cluster.nodes               cluster.processes in all      none
    generate          1                           1                             replicas x the fewest that hold it
    represent         1                           1                             the fewest that hold it
    encode, prepare,  1                           1                             none
    score, judge

A kind's own settings (`cluster.kinds.KIND`) take the place of the cluster's. Jobs with equal resources go into arrays
together.
"""

from dataclasses import dataclass
from typing import Any

from sft_sweeps.config.cluster_schema import ClusterConfig, KindConfig, least_threads, setup_lines
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.launch.answering import replica_gpus, replicas
from sft_sweeps.slurm.cluster import minutes

CPUS = 4  # of a job that neither trains nor generates
MEGABYTES = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}


@dataclass(frozen=True)
class Resources:
    """What one job asks for. `memory` is of a node, as sbatch writes it; an empty text leaves the choice to Slurm."""

    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int
    gpu_type: str
    memory: str
    minutes: int
    partition: str
    account: str
    qos: str
    constraint: str
    sbatch: tuple[tuple[str, str], ...] = ()  # more flags

    @property
    def gpus(self) -> int:
        return self.nodes * self.gpus_per_node

    def __str__(self) -> str:
        """For people: what messages about refused jobs say."""
        gpus = (
            f"{self.gpus_per_node} GPUs{f' ({self.gpu_type})' if self.gpu_type else ''}, " if self.gpus_per_node else ""
        )
        where = f", partition {self.partition}" if self.partition else ""
        cpus = f"{self.tasks_per_node * self.cpus_per_task} CPUs"
        memory = f", {self.memory} of memory" if megabytes(self.memory) else ""
        return f"nodes: {self.nodes}, on each {gpus}{cpus}{memory}{where}"


@dataclass(frozen=True)
class NodeLayout:
    """How a job's processes lie on nodes."""

    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    cpus_per_task: int


def resources(job: Job, cluster: ClusterConfig) -> Resources:
    """The resources of a job. They need not exist: slurm/preflight.py looks whether they do."""
    kind = of_kind(job.kind, cluster)
    layout = _layout(job, cluster)
    return Resources(
        nodes=layout.nodes,
        tasks_per_node=layout.tasks_per_node,
        gpus_per_node=layout.gpus_per_node,
        cpus_per_task=layout.cpus_per_task if kind.cpus is None else kind.cpus,
        gpu_type=cluster.gpu_type if layout.gpus_per_node else "",
        memory=_memory(layout.gpus_per_node, cluster, kind, replicas(job, cluster)),
        minutes=limit(job.kind, cluster),
        partition=_either(kind.partition, cluster.partition),
        account=_either(kind.account, cluster.account),
        qos=_either(kind.qos, cluster.qos),
        constraint=_either(kind.constraint, cluster.constraint),
        sbatch=tuple((key, value) for key, value in {**cluster.sbatch, **kind.sbatch}.items() if value),
    )


def of_kind(kind: str, cluster: ClusterConfig) -> KindConfig:
    """The settings that a kind of job has of its own."""
    return cluster.kinds.get(kind) or KindConfig()


def limit(kind: str, cluster: ClusterConfig) -> int:
    """The time limit, in minutes, of one start of a job of this kind."""
    return minutes(_either(of_kind(kind, cluster).time, cluster.time))


def _layout(job: Job, cluster: ClusterConfig) -> NodeLayout:
    """The table above."""
    gpus = job.gpus
    if job.stage and gpus:
        nodes = -(-gpus // cluster.gpus_per_node)
        return NodeLayout(nodes, gpus // nodes, gpus // nodes, cluster.cpus_per_gpu)
    if job.stage:
        return NodeLayout(cluster.nodes, job.processes // cluster.nodes, 0, least_threads(cluster))
    if KINDS[job.kind].gpus and gpus:
        used = replica_gpus(job, cluster) * replicas(job, cluster)
        return NodeLayout(1, 1, used, used * cluster.cpus_per_gpu)
    return NodeLayout(1, 1, 0, least_threads(cluster) * job.width if KINDS[job.kind].gpus else CPUS)


def _memory(gpus: int, cluster: ClusterConfig, kind: KindConfig, copies: int) -> str:
    """A node's memory: the kind's own, times the replicas; else of `cluster.memory` the share that its GPUs have.

    A share of "0", all memory of a node of unknown size, is unknown: empty.
    """
    if kind.memory is not None or not gpus:
        each = megabytes(kind.memory or "")
        return f"{each * copies}M" if copies > 1 and each else kind.memory or ""
    whole = cluster.memory or ""
    if gpus == cluster.gpus_per_node:
        return whole
    share = megabytes(whole) * gpus // cluster.gpus_per_node
    return f"{share}M" if share else ""


def megabytes(memory: str) -> int:
    """The number of megabytes in sbatch's 480G or 64000M; 0 for "0" (all of a node) and for an empty text."""
    return int(int(memory[:-1]) * MEGABYTES[memory[-1]]) if memory and memory != "0" else 0


def _either(own: str | None, common: str | None) -> str:
    return (common or "") if own is None else own


def sbatch_parameters(needed: Resources, cluster: ClusterConfig) -> dict[str, Any]:
    """Keyword arguments of submitit's `SlurmExecutor.update_parameters`."""
    optional: dict[str, Any] = {key: getattr(needed, key) for key in ("partition", "account", "qos", "constraint")}
    optional["mem"] = needed.memory
    optional |= _gpus(needed, cluster)
    flags = {key: True if value.lower() == "true" else value for key, value in needed.sbatch}
    # A task sees all GPUs of its job on its node, however they were asked for: ranks choose theirs by number.
    unbound = ["--gpu-bind=none"] if needed.gpus_per_node and cluster.gpu_request == "gpus_per_task" else []
    return {
        **{key: value for key, value in optional.items() if value},
        "nodes": needed.nodes,
        "ntasks_per_node": needed.tasks_per_node,
        "cpus_per_task": needed.cpus_per_task,
        "time": needed.minutes,
        "signal_delay_s": cluster.signal_seconds,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own is refused where keys are enforced
        "setup": setup_lines(cluster),
        # Since 22.05 srun no longer takes the CPUs of a process from sbatch.
        "srun_args": ["--kill-on-bad-exit=1", f"--cpus-per-task={needed.cpus_per_task}", *unbound, *cluster.srun],
        "additional_parameters": {"requeue": True, "open-mode": "append", "kill-on-invalid-dep": "yes", **flags},
    }


def _gpus(needed: Resources, cluster: ClusterConfig) -> dict[str, str]:
    """The flag that asks for the GPUs, as the site wants it."""
    count, gpu_type = needed.gpus_per_node, f"{needed.gpu_type}:" if needed.gpu_type else ""
    if not count or cluster.gpu_request == "none":
        return {}
    if cluster.gpu_request == "gres":
        return {"gres": f"gpu:{gpu_type}{count}"}
    if cluster.gpu_request == "gpus_per_task":
        return {"gpus_per_task": f"{gpu_type}{count // needed.tasks_per_node}"}
    return {"gpus_per_node": f"{gpu_type}{count}"}
