"""What one compute node sees, asked with a job of a minute that a node runs at once or not at all."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_sweeps import PACKAGE
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.config.cluster_schema import ClusterConfig, setup_lines

PROBE = Path(__file__).with_name("probe.py")
PATIENCE = 60  # seconds for a node to become free, and as many for the answer after that
FIELDS_OF_A_JOB = ("SLURM_", "SRUN_", "SBATCH_")  # with them srun, run within a job, would start a step of that job
SHARED = "output_dir=FOLDER on a file system that nodes share"
INSTALL = "install the environment on a file system that nodes share, or cluster.python=PATH of one that they see"


def findings(folder: Path, cluster: ClusterConfig, gpus: bool) -> Iterator[Finding]:
    """The findings of a node of the configured partition (none: the default one); a GPU is asked for where it has them.

    The node runs what a job would: modules and setup first, then the configured Python, in the container.
    """
    shared = folder / f".doctor-{uuid.uuid4().hex[:8]}"
    word = uuid.uuid4().hex
    try:
        shared.mkdir()
        (shared / "here").write_text(word)
        seen = _probe(_options(cluster, gpus), _script(cluster, shared, word))
        if isinstance(seen, Finding):
            yield seen
        else:
            yield from _environment(seen)
            yield _shared(seen, folder, back=_comes_back(shared, word))
            yield from _machine(seen, gpus)
    except OSError as error:
        yield Finding("problem", "output_dir", f"{folder} cannot be used: {error.strerror}", SHARED)
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _options(cluster: ClusterConfig, gpus: bool) -> list[str]:
    wanted = {f"--{key}": getattr(cluster, key) for key in ("partition", "account", "qos", "constraint")}
    wanted["--gpus-per-node"] = "1" if gpus else ""
    return [f"{key}={value}" for key, value in wanted.items() if value]


def _script(cluster: ClusterConfig, shared: Path, word: str) -> str:
    """What the node runs, as a job's batch script would."""
    python = f"{cluster.container} {cluster.python or shlex.quote(sys.executable)}".strip()
    probe = shlex.join(["-c", PROBE.read_text(), str(shared), word])
    return "\n".join([*setup_lines(cluster), f"exec {python} {probe}"])


def _probe(options: list[str], script: str) -> dict[str, Any] | Finding:
    """What a node says, or why it says nothing. Its answer comes through srun, not through the folder in question."""
    env = {
        key: value for key, value in os.environ.items() if key == "SLURM_CONF" or not key.startswith(FIELDS_OF_A_JOB)
    }
    above = [str(PACKAGE.parent), *filter(None, [env.get("PYTHONPATH")])]
    command = ["srun", "--job-name=sft-sweeps-doctor", "--nodes=1", "--ntasks=1", "--time=1", "--chdir=/"]
    command += [f"--immediate={PATIENCE}", *options, "bash", "-c", script]
    try:
        done = subprocess.run(
            command,
            env=env | {"PYTHONPATH": os.pathsep.join(above), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding("problem", "node", f"no answer within {2 * PATIENCE} s", "look at squeue, then try again")
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]  # a site's prolog may print too
    if done.returncode == 0 and answers:
        seen: dict[str, Any] = json.loads(answers[-1])
        return seen
    return _refused(" ".join(done.stderr.replace("srun: error: ", "").split()) or f"srun ended with {done.returncode}")


def _refused(message: str) -> Finding:
    """srun's error message, and the key that it is about."""
    for part, change in (
        ("nodes are busy", f"nothing: no node became free within {PATIENCE} s; try again later"),
        ("execve", INSTALL),
        ("no such file", f"{INSTALL}; or correct cluster.setup, cluster.modules or cluster.container"),
        ("account", "cluster.account=ACCOUNT that you may use (sacctmgr show associations user=$USER)"),
        ("qos", "cluster.qos=NAME that you may use"),
        ("partition", "cluster.partition=NAME that you may use"),
    ):
        if part in message.lower():
            return Finding("problem", "node", message, change)
    keys = "cluster.partition, cluster.account or cluster.qos, as Slurm's message says"
    return Finding("problem", "node", message, keys)


def _comes_back(shared: Path, word: str) -> bool:
    """Whether the file that the node wrote is seen here; a network file system may show it late, and after listing."""
    for _ in range(20):
        if "there" in os.listdir(shared):
            return (shared / "there").read_text() == word
        time.sleep(0.5)
    return False


def _environment(seen: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("ok", "node", f"{seen['node']} ran a job with this Python ({seen['python']})")
    if seen["package"]:
        yield Finding("problem", "package", f"does not import there: {seen['package']}", INSTALL)
    elif seen["missing"]:
        yield Finding("problem", "package", f"not installed there: {', '.join(seen['missing'])}", INSTALL)
    else:
        yield Finding("ok", "package", "sft_sweeps, torch, deepspeed and transformers are found there")


def _shared(seen: dict[str, Any], folder: Path, back: bool) -> Finding:
    if not seen["seen"]:
        return Finding("problem", "output_dir", f"{folder}: the node does not see what is written here", SHARED)
    if seen["written"]:
        text = f"{folder}: the node cannot write there ({seen['written']})"
        return Finding("problem", "output_dir", text, "output_dir=FOLDER that you may write from nodes too")
    if not back:
        return Finding("problem", "output_dir", f"{folder}: what the node writes is not seen here after 10 s", SHARED)
    return Finding("ok", "output_dir", f"{folder}: written on either side, seen on the other")


def _machine(seen: dict[str, Any], gpus: bool) -> Iterator[Finding]:
    if seen["scontrol"]:
        text = f"cannot be used there ({seen['scontrol']}): a stage that must stop early waits until you launch again"
        yield Finding("warning", "scontrol", text)
    else:
        yield Finding("ok", "scontrol", "works there: a stage that must stop early requeues itself")
    if seen["resolves"]:
        yield Finding("ok", "host name", f"{seen['node']} resolves there")
    else:
        change = "tell the cluster's staff; until then only models that fit on one node"
        yield Finding("problem", "host name", f"{seen['node']} does not resolve there: nodes cannot meet", change)
    if gpus:
        yield _gpu(seen)


def _gpu(seen: dict[str, Any]) -> Finding:
    if not seen["gpus"]:
        return Finding(
            "problem", "GPUs", "one was asked for, none was given", "cluster.partition=NAME of one with GPUs"
        )
    if seen["nvidia"] is None:
        return Finding("warning", "GPUs", f"{len(seen['gpus'])} was given as asked; there is no nvidia-smi to name it")
    if not seen["nvidia"]:
        return Finding("problem", "GPUs", "nvidia-smi fails there", "tell the cluster's staff")
    return Finding("ok", "GPUs", f"{len(seen['gpus'])} was given as asked: {seen['nvidia'][0]}")
