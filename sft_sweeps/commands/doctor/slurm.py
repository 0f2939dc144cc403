"""What stands in the way of a sweep on Slurm, and what to change. Nothing is submitted unless a node is asked too.

Findings come in the order of the questions: the commands, the controller, its limits, the partitions, the folders, and
(with `on_node`) what a node sees. A question that an earlier problem leaves without an answer is not asked.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sft_sweeps.commands.doctor import node
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.errors import RunError
from sft_sweeps.files.folders import nearest_folder
from sft_sweeps.slurm import queue
from sft_sweeps.slurm.cluster import (
    ELSEWHERE,
    Limits,
    NodeKind,
    Partition,
    PartitionPolicy,
    ask,
    limits,
    partitions,
    policies,
    policies_of,
)
from sft_sweeps.slurm.submit_limits import SubmitLimit, submit_limits
from sft_sweeps.store.claims import user

NEEDED = ("sbatch", "squeue", "scontrol", "sinfo", "scancel")
NETWORK = (
    "nfs",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "fuse",
    "weka",
    "panfs",
    "pvfs",
    "orangefs",
    "afs",
    "9p",
    "virtiofs",
)
MEMORY = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class SlurmRequest:
    """What a sweep would use, by the keys of conf/cluster; "" takes the cluster's defaults."""

    output_dir: Path
    cluster: ClusterConfig
    on_node: bool = False

    @property
    def partition(self) -> str:
        return self.cluster.partition or ""


def asked(request: DoctorRequest) -> Iterator[Finding]:
    """As `findings`; where there is no Slurm and nobody asked for it, that is no problem."""
    if not request.named and not any(map(shutil.which, NEEDED)):
        yield Finding("ok", "commands", "no Slurm here: jobs run on this machine (cluster=local)")
        return
    if not request.named and (why := queue.unanswered(shutil.which("sbatch"))):
        text = f"no cluster answers ({why}): jobs run on this machine"
        yield Finding("warning", "controller", text, "sft-sweeps doctor slurm, if this is a cluster's machine")
        return
    yield from findings(SlurmRequest(request.output_dir, request.cluster, request.on_node))


def findings(request: SlurmRequest) -> Iterator[Finding]:
    """What is well and what is not, each as soon as it is known."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        change = "run this on a login node of the cluster; cluster=local needs no Slurm"
        yield Finding("problem", "commands", f"{', '.join(absent)}: not on PATH", change)
        return
    try:
        yield Finding("ok", "commands", f"{', '.join(NEEDED)}: {ask('sbatch', '--version').strip()}")
        ask("scontrol", "ping")
        allowed, known = limits(), partitions()
    except RunError as error:
        yield _no_answer(str(error))
        return
    yield Finding("ok", "controller", f"cluster {allowed.cluster} answers, Slurm {allowed.version}")
    yield from _elsewhere()
    yield from _limits(allowed)
    yield from _submit_limits(request.cluster, allowed)
    yield from _partitions(known, request.partition)
    yield from _partition_preemption(request.partition, allowed)
    yield from _folders(request)
    chosen = [one for one in known if (one.name == request.partition if request.partition else one.default)]
    if request.on_node and chosen:
        gpus = any(kind.gpus and kind.count for one in chosen for kind in one.nodes)
        folder = nearest_folder(request.output_dir)
        yield from node.findings(folder, request.cluster, gpus)


def _no_answer(message: str) -> Finding:
    """What Slurm's commands print when there is no controller, and what to do."""
    message = message.replace("*", "").strip()  # scontrol ping draws a box of them
    if "configuration source" in message or "s_p_parse_file" in message:
        text = "Slurm is installed here, but finds no slurm.conf: this machine belongs to no cluster"
        return Finding("problem", "controller", text, "run this on a login node, or set SLURM_CONF")
    change = "nothing of ours: slurmctld is down or cannot be reached; tell the cluster's staff, then try again"
    return Finding("problem", "controller", f"no answer ({message})", change)


def _limits(allowed: Limits) -> Iterator[Finding]:
    tasks = min(allowed.max_array_size, allowed.max_array_tasks)
    yield Finding(
        "ok", "arrays", f"MaxArraySize {allowed.max_array_size:,}: longer ones are split, {tasks:,} each at most"
    )
    if allowed.accounting and shutil.which("sacct"):
        yield Finding("ok", "accounting", "on: sacct knows how ended jobs ended")
    else:
        why = "off" if not allowed.accounting else "on, but there is no sacct here"
        text = f"{why}: how a job ended is known for {allowed.min_job_age} s (MinJobAge), then only from its record"
        yield Finding("warning", "accounting", text)
    yield _preemption(allowed)
    wait = f"KillWait {allowed.kill_wait} s after the time limit; saving starts before it (cluster.signal_seconds)"
    yield Finding("ok", "time limit", wait)
    if not allowed.requeue:
        text = "JobRequeue=0: jobs are requeued only as far as the site lets them ask for it"
        yield Finding("warning", "requeue", text)
    if allowed.private_jobs:
        text = "others' jobs are hidden (PrivateData=jobs): a stage that another user claimed is never taken over"
        yield Finding("warning", "privacy", text)


def _elsewhere() -> Iterator[Finding]:
    for name in ELSEWHERE:
        if value := os.environ.get(name):
            change = f"unset {name}, or set SLURM_CONF to that cluster's slurm.conf"
            yield Finding(
                "problem", "environment", f"{name}={value} sends jobs to another cluster than this one", change
            )
    if own := sorted(name for name in os.environ if name.startswith("SBATCH_") and name not in ELSEWHERE):
        yield Finding("warning", "environment", f"{', '.join(own)}: kept from a launch's sbatch; cluster.* decides")


def _submit_limits(cluster: ClusterConfig, allowed: Limits) -> Iterator[Finding]:
    """How many jobs may be in the queue at one time."""
    rest = "what does not fit is submitted when you launch again, or by sft-sweeps launch --until-done"
    if allowed.enforces_limits and shutil.which("sacctmgr") is None:
        text = f"enforced, and there is no sacctmgr here to read them: {rest}"
        yield Finding("warning", "submit limits", text)
        return
    of_partitions = policies_of(cluster.partition or "", _policies()).values()
    qualities = {cluster.qos or "", *(policy.qos for policy in of_partitions if policy.qos)}
    known = submit_limits(user(), {cluster.account or ""}, qualities) if allowed.enforces_limits else []
    if cluster.max_submitted:
        known.append(SubmitLimit("cluster.max_submitted", cluster.max_submitted))
    for limit in known:
        level: Literal["ok", "problem"] = "ok" if limit.most else "problem"
        change = "" if limit.most else "cluster.account=NAME or cluster.qos=NAME of another"
        yield Finding(level, "submit limits", f"{limit.name}: {limit.most:,} jobs in the queue; {rest}", change)
    if not known:
        yield Finding("ok", "submit limits", "none that is known")


def _policies() -> dict[str, PartitionPolicy]:
    with contextlib.suppress(RunError):
        return policies()
    return {}


PREEMPTED = {
    "CANCEL": (
        "preempted jobs are ended and not requeued; launching again continues them from their resume states, and "
        "sft-sweeps launch --until-done does so by itself"
    ),
    "SUSPEND": "preempted jobs are stopped where they stand, keep their memory, and go on later",
    "REQUEUE": "preempted jobs are requeued and continue from their resume states",
    "OFF": "its jobs are not preempted",
}


def _partition_preemption(named: str, allowed: Limits) -> Iterator[Finding]:
    """What becomes of its preempted jobs: a partition may say otherwise than the cluster."""
    for name, policy in policies_of(named, _policies()).items() if allowed.preempt_type else ():
        mode = next((mode for mode in PREEMPTED if mode in policy.preempt_mode), "")
        if mode:
            level: Literal["ok", "warning"] = "ok" if mode in ("REQUEUE", "OFF") else "warning"
            yield Finding(level, f"preemption on {name}", f"PreemptMode={policy.preempt_mode}: {PREEMPTED[mode]}")


def _preemption(allowed: Limits) -> Finding:
    if not allowed.preempt_type:
        return Finding("ok", "preemption", "off")
    text = f"{allowed.preempt_type}, mode {allowed.preempt_mode}"
    if "REQUEUE" not in allowed.preempt_mode:
        text += ": preempted jobs are not requeued; launching again continues them"
        return Finding("warning", "preemption", text)
    if not allowed.preempt_signal:
        text += ": requeued jobs continue from their last saved state, saved again only where GraceTime allows"
        return Finding("warning", "preemption", f"{text} (cluster.save_every_seconds)")
    return Finding("ok", "preemption", f"{text}: jobs are warned, save, and continue when requeued")


def _partitions(known: tuple[Partition, ...], wanted: str) -> Iterator[Finding]:
    names = ", ".join(one.name for one in known)
    for one in known:
        yield _partition(one, chosen=one.name == wanted or (one.default and not wanted))
    if wanted and wanted not in names.split(", "):
        yield Finding("problem", "partition", f"there is no {wanted}", f"cluster.partition=NAME, one of {names}")
    if not wanted and not any(one.default for one in known):
        change = f"cluster.partition=NAME, one of {names}"
        yield Finding("problem", "partition", "the cluster has no default partition", change)


def _partition(one: Partition, chosen: bool) -> Finding:
    name = f"partition {one.name}" + (" (default)" if one.default else "")
    limit = "no time limit" if one.minutes is None else f"time limit {_hours(one.minutes)} (cluster.time at most that)"
    text = "; ".join([*(_kind(kind) for kind in one.nodes), limit])
    if one.up and any(kind.count for kind in one.nodes):
        return Finding("ok", name, text)
    why = "every node is down or drained" if one.up else "it starts no jobs"
    if not chosen:
        return Finding("warning", name, f"{text}; {why}")
    return Finding("problem", name, f"{text}; {why}", "another cluster.partition, or wait for the cluster's staff")


def _kind(kind: NodeKind) -> str:
    """`2 nodes of 64 CPUs, 195 GB, 8 GPUs (a100)`."""
    count = kind.count + kind.down
    text = f"{count} node{'s' * (count != 1)} of {kind.cpus} CPUs, {kind.memory_mb / 1024:,.0f} GB"
    text += f", {kind.gpus} GPUs" if kind.gpus else ", no GPU"
    text += f" ({kind.gpu_type})" if kind.gpu_type else ""
    return text + (f", {kind.down} of them down or drained" if kind.down else "")


def _hours(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02}:00"


def _folders(request: SlurmRequest) -> Iterator[Finding]:
    """Whether nodes can see what jobs need there. A local disk may be exported: only a node can tell."""
    for about, path, key in (
        ("output_dir", nearest_folder(request.output_dir), "output_dir=FOLDER on a shared file system"),
        ("python", Path(sys.prefix), "install the environment on a shared file system, or cluster.python=PATH"),
    ):
        kind = file_system(path)
        if about == "output_dir" and not os.access(path, os.W_OK | os.X_OK):
            yield Finding("problem", about, f"{path} cannot be written", "output_dir=FOLDER that you may write")
        elif kind in MEMORY:
            yield Finding("problem", about, f"{path} lies in this machine's memory ({kind}); no node sees it", key)
        elif kind.startswith(NETWORK):
            yield Finding("ok", about, f"{path} lies on a network file system ({kind})")
        elif not request.on_node:
            text = f"{path} lies on {kind or 'an unknown file system'}: whether nodes see it, --on-node finds out"
            yield Finding("warning", about, text)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that holds a path; "" where the machine does not tell."""
    try:
        rows = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    real = path.resolve()
    holding = [
        (len(row[1]), n, row[2]) for n, row in enumerate(rows) if real.is_relative_to(row[1].replace("\\040", " "))
    ]
    return max(holding, default=(0, 0, ""))[2]  # of mounts on the same folder, the last is seen
