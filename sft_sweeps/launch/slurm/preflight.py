"""What this cluster cannot do for a sweep, before anything is submitted.

Slurm refuses some impossible requests and never starts others (more nodes than a partition has), so all are looked for
here: what each job asks for against the partitions as `sinfo` shows them. Nodes that are down count, for they come
back. Accounts and QOS are left to Slurm: `sbatch` refuses wrong ones at once.
"""

import difflib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.answering import held, model_of, replica_gpus
from sft_sweeps.launch.slurm import fit
from sft_sweeps.launch.slurm.fit import ResourceRequest, duration
from sft_sweeps.launch.slurm.resources import Resources, resources
from sft_sweeps.launch.slurm.room import limits_of
from sft_sweeps.plan import cost
from sft_sweeps.plan.engines import ROOM
from sft_sweeps.slurm import queue
from sft_sweeps.slurm.cluster import ELSEWHERE as OTHER_CLUSTERS
from sft_sweeps.slurm.cluster import Partition, limits
from sft_sweeps.slurm.cluster import partitions as cluster_partitions

ELSEWHERE = "Launch on a login node of the cluster, or type cluster=local to run on this machine"
SHOWN = 160  # characters of Slurm's own message
START_SECONDS = 20.0  # of a process, before it reads its weights
READING = 1e9  # bytes/s of weights from a shared file system


def check(jobs: Sequence[Job], cluster: ClusterConfig, warnings: Mapping[str, float]) -> list[str]:
    """Everything that stands in the jobs' way; asks Slurm for its partitions."""
    if not queue.available():
        return [f"cluster.name={cluster.name}: sbatch is not on PATH here, so nothing can be submitted. {ELSEWHERE}"]
    try:
        partitions = cluster_partitions()
    except RunError as error:
        message = str(error).splitlines()[0][:SHOWN]
        return [f"cluster.name={cluster.name}: Slurm does not answer here. {ELSEWHERE}. ({message})"]
    return [*_elsewhere(), *_no_room(jobs, cluster), *problems(jobs, cluster, partitions, warnings)]


def _elsewhere() -> Iterator[str]:
    """What in the environment would send jobs to another cluster than the one that is asked here."""
    for name in OTHER_CLUSTERS:
        if value := os.environ.get(name):
            yield (
                f"{name}={value} is set in your environment, and jobs would go to another cluster than the one whose "
                f"limits and queue are read here; type: unset {name} (or set SLURM_CONF to that cluster's slurm.conf)"
            )


def _no_room(jobs: Sequence[Job], cluster: ClusterConfig) -> Iterator[str]:
    """Limits under which no job at all can be submitted. Those that are only reached now let the rest wait."""
    try:
        found = limits_of({resources(job, cluster) for job in jobs}, limits())
    except RunError:
        return
    for limit in found:
        if limit.most == 0:
            yield f"{limit.name}=0: no job may be submitted; type cluster.account=NAME or cluster.qos=NAME of another"


def problems(
    jobs: Iterable[Job], cluster: ClusterConfig, partitions: Sequence[Partition], warnings: Mapping[str, float]
) -> Iterator[str]:
    """Everything wrong, equal texts once. `warnings` are the seconds of warning that jobs need to save, by job id."""
    alike: dict[tuple[str, str, Resources], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.kind, model_of(job).id, resources(job, cluster)), []).append(job)
    texts: dict[str, None] = {}
    for (_, _, needed), group in alike.items():
        request = ResourceRequest(group[0], needed, cluster)
        seconds = max(needed_seconds(job, warnings) for job in group)
        texts |= dict.fromkeys(
            [*_partition(request, partitions), *_time_limit(request, seconds), *_replicas_fit(request)]
        )
    yield from texts


def needed_seconds(job: Job, warnings: Mapping[str, float]) -> float:
    """The shortest time limit within which a training job starts, works and saves; 0 for other jobs."""
    if job.id not in warnings:
        return 0.0
    reading = cost.parameters(model_of(job).shape) * cost.BYTES["fp32"] / READING
    return START_SECONDS + reading + 2 * warnings[job.id]


def _partition(request: ResourceRequest, partitions: Sequence[Partition]) -> Iterator[str]:
    """Slurm takes a list of partitions and uses any that can run the job: one is enough."""
    key, named = request.key("partition"), [name for name in request.resources.partition.split(",") if name]
    known = {partition.name: partition for partition in partitions}
    chosen = [known[name] for name in named if name in known] or [p for p in partitions if p.default and not named]
    up = [partition for partition in chosen if partition.up]
    if unknown := [name for name in named if name not in known]:
        for name in unknown:
            close = difflib.get_close_matches(name, known, n=1) or _fitting(request, partitions) or ["NAME"]
            yield (
                f"{key}={name} is no partition of this cluster; there are: {_names(partitions)}. Type {key}={close[0]}"
            )
    elif not chosen:
        yield f"{key} is not set and this cluster has no default; type {key}=NAME, one of: {_names(partitions)}"
    elif not up:
        other = [*_fitting(request, partitions), "NAME"][0]
        yield f"{key}={','.join(p.name for p in chosen)} is not up, no job starts there now; type {key}={other}"
    else:
        reasons = [list(fit.problems(request, partition)) for partition in up]
        others = "".join(f", or {request.typed('partition')}={name}" for name in _fitting(request, partitions)[:1])
        yield from (f"{text}{others}" for text in reasons[0]) if all(reasons) else ()


def _names(partitions: Sequence[Partition]) -> str:
    return ", ".join(p.name + (" (default)" if p.default else "") for p in partitions if p.up) or "none"


def _fitting(request: ResourceRequest, partitions: Sequence[Partition]) -> list[str]:
    """The names of the partitions that can run the job."""
    return [p.name for p in partitions if p.up and not list(fit.problems(request, p))]


def _time_limit(request: ResourceRequest, needed: float) -> Iterator[str]:
    """Why a job would be ended, start after start, before it made progress; `needed` are seconds."""
    minutes = request.resources.minutes
    if minutes * 60 < needed:
        least = duration(-(-int(needed) // 60) + 1)
        yield (
            f"{request.key('time')}={duration(minutes)} is too short for {model_of(request.job).name}: starting, and "
            f"saving before the limit, take {needed:,.0f} s, so a job would never make progress; type "
            f"{request.typed('time')}={least} or more"
        )


def _replicas_fit(request: ResourceRequest) -> Iterator[str]:
    """Why a node's GPUs cannot hold the model that answers, or so many replicas of it."""
    job, cluster = request.job, request.cluster
    if job.stage or not request.resources.gpus_per_node:
        return
    size, node = replica_gpus(job, cluster), cluster.gpus_per_node
    try:
        held(job).size(node, cluster.gpu_memory_gb)
    except RequestError as error:
        least = math.ceil(held(job).gigabytes / size / ROOM)
        yield (
            f"cluster.gpu_memory_gb={cluster.gpu_memory_gb:g}: {error}. Choose a smaller model=NAME, or nodes with "
            f"larger GPUs and cluster.gpu_memory_gb={least}"
        )
    if job.kind == "generate" and size * cluster.replicas > node:
        yield (
            f"cluster.replicas={cluster.replicas}: {model_of(job).name} answers on {size} GPUs a replica, and a node "
            f"has {node} (cluster.gpus_per_node); type cluster.replicas={node // size}"
        )
