"""Whether a job fits on a partition: its limits and its nodes against what the job asks for.

All that a job asks of a node, one kind of node must have at once: after each question only the nodes that have what it
was about are looked at further.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sft_sweeps.config.cluster_schema import ClusterConfig, least_threads
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.launch.answering import model_of
from sft_sweeps.launch.slurm.resources import Resources, megabytes, of_kind
from sft_sweeps.slurm.cluster import NodeKind, Partition

EMPTY = "''"  # as typed in a shell
Suits = Callable[[NodeKind], bool]
Answer = tuple[str, Suits]  # what is wrong with all nodes ("": nothing), and which of them have what is asked for


@dataclass(frozen=True)
class ResourceRequest:
    """What jobs of one kind and model ask of the cluster (`job` is one of them), and the keys that decide it."""

    job: Job
    resources: Resources
    cluster: ClusterConfig

    def key(self, name: str) -> str:
        """The key that decides a setting for this kind of job: the kind's own where it is set, else the cluster's."""
        own = getattr(of_kind(self.job.kind, self.cluster), name, None) is not None
        return self._own(name) if own else f"cluster.{name}"

    def typed(self, name: str) -> str:
        """The key to type in order to change a setting for this kind of job; the cluster's own is training's."""
        common = f"cluster.{name}"
        return common if self.key(name) == common and self.job.kind == "train" else self._own(name)

    def _own(self, name: str) -> str:
        return f"cluster.kinds.{self.job.kind}.{name}"


def problems(request: ResourceRequest, partition: Partition) -> Iterator[str]:
    """Why the job can never run there, each with key, value and what to type; nothing where it can."""
    minutes = request.resources.minutes
    if partition.minutes is not None and minutes > partition.minutes:
        limit = duration(partition.minutes)
        yield (
            f"{request.key('time')}={duration(minutes)} is over the limit of partition {partition.name}, {limit}; type "
            f"{request.typed('time')}={limit}"
        )
    if not partition.nodes:
        yield f"partition {partition.name} has no nodes; type {request.typed('partition')}=NAME of another"
        return
    nodes, all_suit = list(partition.nodes), True
    for question in (_constraint, _gpu_type, _gpus, _cpus, _memory):
        text, suits = question(request, partition, nodes)
        if text:
            yield text
            all_suit = False
        else:
            nodes = [node for node in nodes if suits(node)]
    count = sum(node.count + node.down for node in nodes)
    if all_suit and count < request.resources.nodes:
        yield _too_few_nodes(request, partition, count)


def _constraint(request: ResourceRequest, partition: Partition, nodes: Sequence[NodeKind]) -> Answer:
    """Expressions with counts, brackets or negation are left to Slurm."""
    text = request.resources.constraint

    def suits(node: NodeKind) -> bool:
        if not text or re.search(r"[\[\]()*!]", text):
            return True
        return any(set(re.split("[&,]", each)) <= set(node.features) for each in text.split("|"))

    if any(map(suits, nodes)):
        return "", suits
    features = sorted({feature for node in nodes for feature in node.features})
    close = difflib.get_close_matches(text, features, n=1)
    return (
        f"{request.key('constraint')}={text}: no node of partition {partition.name} has it; features there: "
        f"{', '.join(features) or 'none'}. Type {request.typed('constraint')}={close[0] if close else EMPTY}"
    ), suits


def _gpu_type(request: ResourceRequest, partition: Partition, nodes: Sequence[NodeKind]) -> Answer:
    gpu_type = request.resources.gpu_type

    def suits(node: NodeKind) -> bool:  # one without GPUs is the next question's to refuse
        return not gpu_type or not node.gpus or node.gpu_type == gpu_type

    types = sorted({node.gpu_type for node in nodes if node.gpus})
    if not gpu_type or not types or gpu_type in types:
        return "", suits
    return (
        f"cluster.gpu_type={gpu_type}: the GPUs of partition {partition.name} are of type "
        f"{', '.join(filter(None, types)) or 'none that sinfo names'}; type cluster.gpu_type={types[0] or EMPTY}"
    ), suits


def _gpus(request: ResourceRequest, partition: Partition, nodes: Sequence[NodeKind]) -> Answer:
    needed, most = request.resources.gpus_per_node, max(node.gpus for node in nodes)
    if request.cluster.gpu_request == "none":  # the partition gives them, and need not say so
        needed = 0

    def suits(node: NodeKind) -> bool:
        return node.gpus >= needed

    if needed <= most:
        return "", suits
    model = model_of(request.job)
    if not most:
        way = f"type {request.typed('partition')}=NAME of a partition with GPUs, or model=mini, which needs none"
        return f"model={model.name} needs GPUs, and no node of partition {partition.name} has one; {way}", suits
    fewer = max(n for n in range(1, most + 1) if model.gpus % n == 0)
    return (
        f"cluster.gpus_per_node={request.cluster.gpus_per_node}: model={model.name} asks for {needed} GPUs on a node, "
        f"the most that partition {partition.name} has on one is {most}; type cluster.gpus_per_node={fewer}"
    ), suits


def _cpus(request: ResourceRequest, partition: Partition, nodes: Sequence[NodeKind]) -> Answer:
    needed = request.resources.tasks_per_node * request.resources.cpus_per_task
    most = max(node.cpus for node in nodes)

    def suits(node: NodeKind) -> bool:
        return node.cpus >= needed

    if needed <= most:
        return "", suits
    key, value, fitting = _cpu_key(request, most)
    return (
        f"{key}={value}: a job to {request.job.kind} asks for {needed} CPUs on a node, the most that partition "
        f"{partition.name} has on one is {most}; type {key}={max(1, fitting)}"
    ), suits


def _cpu_key(request: ResourceRequest, most: int) -> tuple[str, int, int]:
    """The key that decides on a job's CPUs, its value, and the value that makes do with `most` CPUs on a node."""
    resources, cluster, kind = request.resources, request.cluster, request.job.kind
    if of_kind(kind, cluster).cpus is not None or not (resources.gpus_per_node or KINDS[kind].gpus):
        return f"cluster.kinds.{kind}.cpus", resources.cpus_per_task, most // resources.tasks_per_node
    if resources.gpus_per_node:
        return "cluster.cpus_per_gpu", cluster.cpus_per_gpu, most // resources.gpus_per_node
    if resources.tasks_per_node > 1:
        return "cluster.processes", cluster.processes, most // least_threads(cluster) * resources.nodes
    return "cluster.threads", least_threads(cluster), most


def _memory(request: ResourceRequest, partition: Partition, nodes: Sequence[NodeKind]) -> Answer:
    needed, most = megabytes(request.resources.memory), max(node.memory_mb for node in nodes)

    def suits(node: NodeKind) -> bool:
        return node.memory_mb >= needed

    if needed <= most:
        return "", suits
    key = request.key("memory")
    value = request.cluster.memory if key == "cluster.memory" else request.resources.memory
    return (
        f"{key}={value}: a job to {request.job.kind} asks for {needed:,} MB on a node, the most that partition "
        f"{partition.name} has on one is {most:,} MB; type {request.typed('memory')}={most}M"
    ), suits


def _too_few_nodes(request: ResourceRequest, partition: Partition, count: int) -> str:
    """Said here, because Slurm would accept the job and never start it."""
    nodes, gpus = request.resources.nodes, request.resources.gpus_per_node
    if not gpus:
        return f"cluster.nodes={nodes}: partition {partition.name} has {count} such nodes; type cluster.nodes={count}"
    return (
        f"model={model_of(request.job).name} needs {nodes} nodes with {gpus} GPUs each, partition {partition.name} has "
        f"{count} such nodes; type a smaller model=NAME, or {request.typed('partition')}=NAME"
    )


def duration(minutes: int) -> str:
    """A time limit as one types it: 4:00:00, 2-00:00:00."""
    days, rest = divmod(minutes, 24 * 60)
    clock = f"{rest // 60:02}:{rest % 60:02}:00"
    return f"{days}-{clock}" if days else clock.removeprefix("0")
