"""What the text of `cluster.*` shows to be wrong that no single value does: flags, kinds of jobs, full nodes.

Single values are checked by their fields (cluster_schema.py); what this cluster has, by launch/slurm/preflight.py.
"""

import re
from collections.abc import Iterator

from sft_sweeps.config.cluster_schema import ClusterConfig, KindConfig
from sft_sweeps.config.train_schema import ModelConfig
from sft_sweeps.errors import nearest
from sft_sweeps.jobs.kinds import KINDS

# Flags of sbatch that have a key of their own, and those by which a sweep is held together.
KEYS = {
    "partition": "cluster.partition",
    "account": "cluster.account",
    "qos": "cluster.qos",
    "constraint": "cluster.constraint",
    "time": "cluster.time",
    "mem": "cluster.memory",
    "gpus": "cluster.gpus_per_node",
    "gpus-per-task": "cluster.gpu_request",
    "gpus-per-node": "cluster.gpus_per_node",
    "cpus-per-task": "cluster.cpus_per_gpu",
    "signal": "cluster.signal_seconds",
    "nodes": "cluster.nodes",
}
OWN_SBATCH_FLAGS = frozenset(
    [
        "array",
        "dependency",
        "job-name",
        "output",
        "error",
        "open-mode",
        "requeue",
        "no-requeue",
        "export",
        "hold",
        "kill-on-invalid-dep",
        "ntasks",
        "ntasks-per-node",
        "clusters",
        "wait",
        "wrap",
        "parsable",
        "test-only",
    ]
)


def problems(cluster: ClusterConfig, model: ModelConfig) -> Iterator[str]:
    """Each message names the key, its value, and what to type."""
    for kind in cluster.kinds:
        if kind not in KINDS:
            hint = nearest(kind, KINDS, "cluster.kinds.")
            yield f"cluster.kinds.{kind} is no kind of job; valid: {', '.join(KINDS)}{hint}"
    for flag in cluster.sbatch:
        yield from _sbatch_flag(flag, "cluster.sbatch")
    for kind, own in cluster.kinds.items():
        if not isinstance(own, KindConfig):
            key = f"cluster.kinds.{kind}"
            yield f"{key}={own!r:.40} holds no settings; set one of its keys: {key}.memory=64G"
            continue
        for flag in own.sbatch:
            yield from _sbatch_flag(flag, f"cluster.kinds.{kind}.sbatch")
    yield from _gpus_fill_nodes(cluster, model)
    yield from _processes_fill_nodes(cluster, model)


def _sbatch_flag(flag: str, where: str) -> Iterator[str]:
    plain = flag.strip().lstrip("-").replace("_", "-")
    key = f"{where}.{flag}"
    if plain in KEYS:
        yield f"{key}: this flag has a key of its own; set {KEYS[plain]} instead"
    elif plain in OWN_SBATCH_FLAGS:
        yield f"{key}: sft-sweeps sets this flag itself, by which jobs wait for each other and come back; leave it out"
    elif plain != flag or not re.fullmatch(r"[a-z][a-z0-9-]+", flag):
        yield f"{key}: write sbatch's flag without leading dashes and with its own dashes: +{where}.{plain}=..."


def _gpus_fill_nodes(cluster: ClusterConfig, model: ModelConfig) -> Iterator[str]:
    """A stage on more than one node uses equally many GPUs of each."""
    per_node, gpus = cluster.gpus_per_node, model.gpus
    if cluster.name != "local" and gpus > per_node >= 1 and gpus % per_node:
        fitting = max(n for n in range(1, per_node + 1) if gpus % n == 0)
        yield (
            f"cluster.gpus_per_node={per_node} does not divide the {gpus} GPUs of model={model.name}, whose nodes must "
            f"be alike; type cluster.gpus_per_node={fitting}"
        )


def _processes_fill_nodes(cluster: ClusterConfig, model: ModelConfig) -> Iterator[str]:
    """A stage without GPUs has equally many processes on each of its nodes."""
    nodes, processes = cluster.nodes, cluster.processes
    if model.gpus == 0 and nodes >= 1 and processes >= 1 and processes % nodes:
        yield (
            f"cluster.processes={processes} cannot be spread over cluster.nodes={nodes} evenly; "
            f"type cluster.processes={-(-processes // nodes) * nodes}"
        )
