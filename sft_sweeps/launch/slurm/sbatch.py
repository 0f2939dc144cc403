"""One `sbatch` call, through submitit: frozen jobs, batch script, number.

All that a job reads is written before `sbatch` is called, and named by the call and not by the number that it gets: a
launcher that dies the moment after leaves jobs that run. So submitit writes the batch script and calls `sbatch`, and
no more: not its pickles, which are renamed when the number is known, nor its handling of signals and results. A job's
tasks run `slurm_task`, and a record says what is done.
"""

import contextlib
import hashlib
import json
import os
import shlex
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.files.json_files import write_json
from sft_sweeps.identity import plain
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.slurm.resources import Resources, sbatch_parameters
from sft_sweeps.worker import slurm_task

# In the batch script, outside any container: `srun` has returned. A mark asks for a requeue; so does an end by USR2,
# which came before Python listened.
TRAP = f"""\
sft_sweeps_leave() {{
  code=$?
  if [ -e "${slurm_task.MARKS}/$SLURM_JOB_ID" ] || [ "$code" -eq 140 ]; then
    rm -f "${slurm_task.MARKS}/$SLURM_JOB_ID"
    # One element of an array has the array's own number: with that alone all of its siblings would start again.
    this="${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}"
    scontrol requeue "$this" && sleep 120
  fi
  exit "$code"
}}
trap sft_sweeps_leave EXIT"""


@dataclass(frozen=True)
class SbatchOptions:
    """What all calls of a launch have in common."""

    sweep: Path
    code: Path
    cluster: ClusterConfig

    def submit(self, name: str, jobs: Mapping[int, Job], needed: Resources, warning: int, dependency: str) -> str:
        """Submit jobs as an array, by their index in it, or as a plain job under the only index -1: Slurm's number.

        Raises what submitit raises: FailedJobError with Slurm's words, or OSError.
        """
        executor = SlurmExecutor(folder=self.sweep / "slurm", python=self._python())
        executor.update_parameters(**self._parameters(name, jobs, needed, warning, dependency))
        if -1 not in jobs:
            executor.parameters["map_count"] = len(jobs)  # names the logs by element; which there are, --array says
        frozen = self.sweep.absolute() / "slurm" / f"{name}.json"
        write_json(frozen, {index: self._frozen(job) for index, job in jobs.items()})
        command = f"{self._python()} -u -m {slurm_task.__name__} {shlex.quote(str(frozen))}"
        with _own_environment():
            return str(executor._submit_command(command).job_id)

    def _parameters(
        self, name: str, jobs: Mapping[int, Job], needed: Resources, warning: int, dependency: str
    ) -> dict[str, Any]:
        """Keyword arguments of submitit's `update_parameters`."""
        common = sbatch_parameters(needed, self.cluster)
        extra = {**common.get("additional_parameters", {})}
        if dependency:
            extra["dependency"] = dependency
        if -1 not in jobs:
            extra["array"] = f"{ranges(list(jobs))}%{self.cluster.max_running}"
        setup = [*common.get("setup", []), *self._setup(needed)]
        return {**common, "job_name": name, "signal_delay_s": warning, "setup": setup, "additional_parameters": extra}

    def _python(self) -> str:
        """The command that starts Python on the node, in a container where one is named."""
        interpreter = self.cluster.python or shlex.quote(sys.executable)
        return f"{self.cluster.container} {interpreter}".strip()

    def _setup(self, needed: Resources) -> list[str]:
        """Lines of the batch script before `srun`."""
        values = {
            "PYTHONPATH": str(self.code.absolute()),
            "PYTHONSAFEPATH": "1",  # the snapshot, and not the folder that sbatch was called in
            "OMP_NUM_THREADS": str(self.cluster.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            slurm_task.MARKS: str(self.sweep.absolute() / "requeue"),
        }
        if not needed.gpus_per_node:
            values["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed looks for one, and says so
        return [*(f"export {key}={shlex.quote(value)}" for key, value in values.items()), TRAP]

    def _frozen(self, job: Job) -> tuple[str, str]:
        """A job's file and its digest, by which the file is named: a queued job's is never changed."""
        content = json.dumps(plain(job)).encode()
        digest = hashlib.sha256(content).hexdigest()
        path = self.sweep.absolute() / "jobs" / f"{job.id}-{digest[:8]}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
            temporary.write_bytes(content)
            temporary.replace(path)
        return str(path), digest


def ranges(indices: Sequence[int]) -> str:
    """Slurm's notation for array elements: "0-3,7"."""
    pieces: list[list[int]] = []
    for index in sorted(indices):
        if pieces and index == pieces[-1][1] + 1:
            pieces[-1][1] = index
        else:
            pieces.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in pieces)


@contextlib.contextmanager
def _own_environment() -> Iterator[None]:
    """Hide what sbatch, and srun in the job, would obey in the place of what is configured and was checked.

    SBATCH_* wins over the lines of a batch script; SLURM_* of an allocation would be inherited by a job submitted from
    inside it.
    """
    foreign = ("SLURM_", "SBATCH_", "SRUN_")
    hidden = {key: value for key, value in os.environ.items() if key.startswith(foreign) and key != "SLURM_CONF"}
    for key in hidden:
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(hidden)
