"""What the text of `cluster.*` shows to be wrong: times, memory, flags, and how a model's processes fill nodes.

Single values are checked in `config`; what this cluster has, in `launch.preflight_slurm`.
"""

import difflib
import re
import shlex
from collections.abc import Iterator

from sft_sweeps.config.schema import ClusterConfig, ModelConfig
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.slurm.queue import minutes

MEMORY = re.compile(r"0|[1-9][0-9]*[KMGT]")
# YAML reads an unquoted 24:00:00 as 86400, which Slurm would take for minutes.
LONGEST_PLAIN_MINUTES = 599
# Flags of sbatch that have a key of their own, and those by which a sweep is held together.
KEYS = {
    "partition": "cluster.partition",
    "account": "cluster.account",
    "qos": "cluster.qos",
    "constraint": "cluster.constraint",
    "time": "cluster.time",
    "mem": "cluster.memory",
    "gpus": "cluster.gpus_per_node",
    "gpus-per-node": "cluster.gpus_per_node",
    "cpus-per-task": "cluster.cpus_per_gpu",
    "signal": "cluster.signal_seconds",
    "nodes": "cluster.nodes",
}
OURS = ("array", "dependency", "job-name", "output", "error", "open-mode", "requeue", "no-requeue", "export", "hold")
OURS_TOO = (
    "kill-on-invalid-dep",
    "ntasks",
    "ntasks-per-node",
    "gpus-per-task",
    "wait",
    "wrap",
    "parsable",
    "test-only",
)
OUR_SRUN = ("--output", "--error", "--ntasks", "--nodes", "--ntasks-per-node", "--cpus-per-task", "--kill-on-bad-exit")
OUR_SRUN_TOO = ("--no-kill", "--export", "--overlap", "--label", "-o", "-e", "-n", "-N", "-c", "-K", "-l")


def problems(cluster: ClusterConfig, model: ModelConfig) -> Iterator[str]:
    """Each message names the key, its value, and what to type."""
    yield from _time("cluster.time", cluster.time)
    yield from _memory("cluster.memory", cluster.memory)
    for name, kind in cluster.kinds.items():
        yield from _time(f"cluster.kinds.{name}.time", kind.time)
        yield from _memory(f"cluster.kinds.{name}.memory", kind.memory)
    for name in cluster.kinds:
        if name not in KINDS:
            close = difflib.get_close_matches(name, KINDS, n=1)
            hint = f"; did you mean cluster.kinds.{close[0]}?" if close else ""
            yield f"cluster.kinds.{name} is no kind of job; valid: {', '.join(KINDS)}{hint}"
    for flag in cluster.sbatch:
        yield from _sbatch(flag)
    for flag in cluster.srun:
        yield from _srun(flag)
    yield from _words(cluster)
    yield from _spread(cluster, model)


def _time(key: str, text: str | None) -> Iterator[str]:
    if text is None:
        return
    try:
        found = minutes(text)
    except ValueError:
        found = 0
    if found < 1:
        yield f"{key}={text} is no time limit; write hours:minutes:seconds, {key}=4:00:00, or days, {key}=2-00:00:00"
    elif text.strip().isdecimal() and found > LONGEST_PLAIN_MINUTES:
        hours = f"{found // 60}:{found % 60:02}:00"
        yield (
            f"{key}={text} is {found:,} minutes to Slurm; in a YAML file a time needs quotes, {_last(key)}: "
            f'"24:00:00". If you mean minutes, write {key}={hours}'
        )


def _memory(key: str, text: str | None) -> Iterator[str]:
    if text and not MEMORY.fullmatch(text):
        yield f"{key}={text} is no size of memory; write {key}=480G, {key}=64000M, or {key}=0 for all of a node"


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def _sbatch(flag: str) -> Iterator[str]:
    plain = flag.strip().lstrip("-").replace("_", "-")
    key = f"cluster.sbatch.{flag}"
    if plain in KEYS:
        yield f"{key}: this flag has a key of its own; set {KEYS[plain]} instead"
    elif plain in (*OURS, *OURS_TOO):
        yield f"{key}: sft-sweeps sets this flag itself, by which jobs wait for each other and come back; leave it out"
    elif plain != flag or not re.fullmatch(r"[a-z][a-z0-9-]+", flag):
        yield f"{key}: write sbatch's flag without leading dashes and with its own dashes: +cluster.sbatch.{plain}=..."


def _srun(flag: str) -> Iterator[str]:
    name, _, value = flag.partition("=")
    if name in (*OUR_SRUN, *OUR_SRUN_TOO):
        yield f"cluster.srun={flag}: sft-sweeps sets {name} itself; leave it out"
    elif not name.startswith("-") or " " in name.strip():
        joined = "--" + "=".join([*name.lstrip("-").split(), *([value] if value else [])])
        yield f"cluster.srun={flag} is no flag of srun; write each as one entry, cluster.srun=['{joined}']"


def _words(cluster: ClusterConfig) -> Iterator[str]:
    if not re.fullmatch(r"[\w.+-]*", cluster.gpu_type):
        yield f"cluster.gpu_type={cluster.gpu_type} is no type; write what sinfo shows, like cluster.gpu_type=a100"
    for module in cluster.modules:
        if not re.fullmatch(r"[\w./@+-]+", module):
            yield f"cluster.modules={module} is no module; write a list of names, like cluster.modules=[cuda/12.4]"
    for key, text in (("container", cluster.container), ("python", cluster.python)):
        try:
            shlex.split(text)
        except ValueError as error:
            example = "apptainer exec --nv /images/torch.sif" if key == "container" else "/opt/env/bin/python"
            yield f"cluster.{key}={text} is no command ({error}); write it as in a shell, e.g. cluster.{key}={example}"


def _spread(cluster: ClusterConfig, model: ModelConfig) -> Iterator[str]:
    """A stage has equally many processes on each of its nodes."""
    per_node, gpus = cluster.gpus_per_node, model.gpus
    if cluster.name != "local" and gpus > per_node >= 1 and gpus % per_node:
        fitting = max(n for n in range(1, per_node + 1) if gpus % n == 0)
        yield (
            f"cluster.gpus_per_node={per_node} does not divide the {gpus} GPUs of model={model.name}, whose nodes must "
            f"be alike; type cluster.gpus_per_node={fitting}"
        )
    nodes, processes = cluster.nodes, cluster.processes
    if gpus == 0 and nodes >= 1 and processes >= 1 and processes % nodes:
        yield (
            f"cluster.processes={processes} cannot be spread over cluster.nodes={nodes} evenly; "
            f"type cluster.processes={-(-processes // nodes) * nodes}"
        )
