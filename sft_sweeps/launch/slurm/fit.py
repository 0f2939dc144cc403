"""Why a partition can never run a job: its limits and its nodes against the job's resources.

What one kind of node must have, it must have all at once: nodes that lack something are out of the next question.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sft_sweeps.config.schema import ClusterConfig
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.launch.slurm.resources import Resources, megabytes, model_of, of_kind
from sft_sweeps.slurm.queue import NodeKind, Partition

EMPTY = "''"  # as typed in a shell
Step = tuple[str, Callable[[NodeKind], bool]]  # what is wrong with a partition ("": nothing), and which nodes remain


@dataclass(frozen=True)
class ResourceClass:
    """A job that stands for all of its kind with equal resources."""

    job: Job
    wanted: Resources
    cluster: ClusterConfig

    def key(self, name: str) -> str:
        """Where a setting stands that decides for this kind of job."""
        own = getattr(of_kind(self.job.kind, self.cluster), name, None) is not None
        return self._own(name) if own else f"cluster.{name}"

    def typed(self, name: str) -> str:
        """The key by which to change a setting for this kind of job; the cluster's own is training's."""
        return (
            f"cluster.{name}" if self.key(name) == f"cluster.{name}" and self.job.kind == "train" else self._own(name)
        )

    def _own(self, name: str) -> str:
        return f"cluster.kinds.{self.job.kind}.{name}"


def misfits(request: ResourceClass, partition: Partition) -> Iterator[str]:
    """Each reason with its key, value and what to type; none where the job can run there."""
    if partition.minutes is not None and request.wanted.minutes > partition.minutes:
        most = duration(partition.minutes)
        yield (
            f"{request.key('time')}={duration(request.wanted.minutes)} is over the limit of partition "
            f"{partition.name}, {most}; type {request.typed('time')}={most}"
        )
    nodes = list(partition.nodes)
    if not nodes:
        yield f"partition {partition.name} has no nodes; type {request.typed('partition')}=NAME of another"
        return
    steps = (_constraint, _gpu_type, _gpus, _cpus, _memory)
    fits: list[Callable[[NodeKind], bool]] = []
    for step in steps:
        text, fit = step(request, partition, nodes)
        if text:
            yield text
        else:
            nodes = [node for node in nodes if fit(node)]
            fits.append(fit)
    have = sum(node.count + node.down for node in nodes)
    if len(fits) == len(steps) and have < request.wanted.nodes:
        yield _nodes(request, partition, have)


def _constraint(request: ResourceClass, partition: Partition, nodes: Sequence[NodeKind]) -> Step:
    """Expressions with counts, brackets or negation are left to Slurm."""
    text = request.wanted.constraint

    def fit(node: NodeKind) -> bool:
        if not text or re.search(r"[\[\]()*!]", text):
            return True
        return any(set(re.split("[&,]", each)) <= set(node.features) for each in text.split("|"))

    if any(map(fit, nodes)):
        return "", fit
    key, there = request.key("constraint"), sorted({feature for node in nodes for feature in node.features})
    close = difflib.get_close_matches(text, there, n=1)
    return (
        f"{key}={text}: no node of partition {partition.name} has it; features there: {', '.join(there) or 'none'}. "
        f"Type {request.typed('constraint')}={close[0] if close else EMPTY}"
    ), fit


def _gpu_type(request: ResourceClass, partition: Partition, nodes: Sequence[NodeKind]) -> Step:
    wanted = request.wanted.gpu_type

    def fit(node: NodeKind) -> bool:  # one without GPUs is the next step's to refuse
        return not wanted or not node.gpus or node.gpu_type == wanted

    there = sorted({node.gpu_type for node in nodes if node.gpus})
    if not wanted or not there or wanted in there:
        return "", fit
    return (
        f"cluster.gpu_type={wanted}: the GPUs of partition {partition.name} are of type "
        f"{', '.join(filter(None, there)) or 'none that sinfo names'}; type cluster.gpu_type={there[0] or EMPTY}"
    ), fit


def _gpus(request: ResourceClass, partition: Partition, nodes: Sequence[NodeKind]) -> Step:
    wanted, most = request.wanted.gpus_per_node, max(node.gpus for node in nodes)

    def fit(node: NodeKind) -> bool:
        return node.gpus >= wanted

    if wanted <= most:
        return "", fit
    model = model_of(request.job)
    if not most:
        typed = f"type {request.typed('partition')}=NAME of a partition with GPUs, or model=mini, which needs none"
        return f"model={model.name} needs GPUs, and no node of partition {partition.name} has one; {typed}", fit
    fewer = max(n for n in range(1, most + 1) if model.gpus % n == 0)
    return (
        f"cluster.gpus_per_node={request.cluster.gpus_per_node}: model={model.name} asks for {wanted} GPUs on a node, "
        f"the most that partition {partition.name} has on one is {most}; type cluster.gpus_per_node={fewer}"
    ), fit


def _cpus(request: ResourceClass, partition: Partition, nodes: Sequence[NodeKind]) -> Step:
    wanted, most = _cpus_of(request.wanted), max(node.cpus for node in nodes)

    def fit(node: NodeKind) -> bool:
        return node.cpus >= wanted

    if wanted <= most:
        return "", fit
    key, value, best = _cpu_key(request, most)
    return (
        f"{key}={value}: a job to {request.job.kind} asks for {wanted} CPUs on a node, the most that partition "
        f"{partition.name} has on one is {most}; type {key}={max(1, best)}"
    ), fit


def _cpus_of(wanted: Resources) -> int:
    return wanted.tasks_per_node * wanted.cpus_per_task


def _cpu_key(request: ResourceClass, most: int) -> tuple[str, int, int]:
    """The setting that decides on a job's CPUs, its value, and the one that makes do with `most` on a node."""
    wanted, cluster, kind = request.wanted, request.cluster, request.job.kind
    if of_kind(kind, cluster).cpus is not None or not (wanted.gpus_per_node or KINDS[kind].gpus):
        return f"cluster.kinds.{kind}.cpus", wanted.cpus_per_task, most // wanted.tasks_per_node
    if wanted.gpus_per_node:
        return "cluster.cpus_per_gpu", cluster.cpus_per_gpu, most // wanted.gpus_per_node
    if wanted.tasks_per_node > 1:
        return "cluster.processes", cluster.processes, most // cluster.threads * wanted.nodes
    return "cluster.threads", cluster.threads, most


def _memory(request: ResourceClass, partition: Partition, nodes: Sequence[NodeKind]) -> Step:
    wanted, most = megabytes(request.wanted.memory), max(node.memory_mb for node in nodes)

    def fit(node: NodeKind) -> bool:
        return node.memory_mb >= wanted

    if wanted <= most:
        return "", fit
    key = request.key("memory")
    value = request.cluster.memory if key == "cluster.memory" else request.wanted.memory
    return (
        f"{key}={value}: a job to {request.job.kind} asks for {wanted:,} MB on a node, the most that partition "
        f"{partition.name} has on one is {most:,} MB; type {request.typed('memory')}={most}M"
    ), fit


def _nodes(request: ResourceClass, partition: Partition, have: int) -> str:
    """Slurm would let it wait for ever."""
    wanted, model = request.wanted, model_of(request.job)
    if not wanted.gpus_per_node:
        return (
            f"cluster.nodes={wanted.nodes}: partition {partition.name} has {have} such nodes; type cluster.nodes={have}"
        )
    return (
        f"model={model.name} needs {wanted.nodes} nodes with {wanted.gpus_per_node} GPUs each, partition "
        f"{partition.name} has {have} such nodes; type a smaller model=NAME, or {request.typed('partition')}=NAME"
    )


def duration(minutes: int) -> str:
    """As one would type a time limit: 4:00:00, 2-00:00:00."""
    days, rest = divmod(minutes, 24 * 60)
    clock = f"{rest // 60:02}:{rest % 60:02}:00"
    return f"{days}-{clock}" if days else clock.removeprefix("0")
