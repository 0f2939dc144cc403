"""One `sbatch` call, through submitit: frozen jobs, batch script, number.

submitit writes the batch script and calls `sbatch`, and no more: not its pickles, which would run whatever they hold,
nor its handling of signals and results. What a task reads is the file of its call, by the digest in the batch script
(jobs/frozen.py), written before `sbatch` is called: a launcher that dies the moment after leaves jobs
that run. Slurm keeps the script since the submission, so it is the one that was submitted. Before Python starts, it
checks the code.
"""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor

from sft_sweeps.config.cluster_schema import ClusterConfig, least_threads
from sft_sweeps.files import private
from sft_sweeps.jobs import frozen
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.slurm import snapshot
from sft_sweeps.launch.slurm.resources import Resources, sbatch_parameters
from sft_sweeps.slurm import reasons
from sft_sweeps.worker import slurm_entry, slurm_task

LOGS = "SFT_SWEEPS_LOGS"  # names the folder of Slurm's logs
# In the batch script, outside any container: `srun` has returned. A mark asks for a requeue; so does an end by USR2,
# which came before Python listened. Logs of finished work that hold nothing, one for each process, go.
TRAP = f"""\
sft_sweeps_leave() {{
  code=$?
  # One element of an array has the array's own number: with that alone all of its siblings would start again.
  this="${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_}}${{SLURM_ARRAY_TASK_ID:-$SLURM_JOB_ID}}"
  if [ -e "${slurm_task.MARKS}/$SLURM_JOB_ID" ] || [ "$code" -eq 140 ]; then
    rm -f "${slurm_task.MARKS}/$SLURM_JOB_ID"
    scontrol requeue "$this" && sleep 120
  fi
  if [ "$code" -eq 0 ] && [ -n "${{{LOGS}:-}}" ]; then
    for log in "${LOGS}/$this"_*_log.out; do
      [ -s "$log" ] || rm -f "$log"
    done
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
        path, digest = frozen.write(self.sweep.absolute(), name, jobs)
        entry = shlex.join(["-u", "-m", slurm_entry.__name__, str(path), digest])
        executor = SlurmExecutor(private.folder(self.sweep, "slurm"), python=self._python())
        executor.update_parameters(**self._parameters(name, jobs, needed, warning, dependency))
        if -1 not in jobs:
            executor.parameters["map_count"] = len(jobs)  # names the logs by element; which there are, --array says
        with _own_environment(), private.umask():
            return str(executor._submit_command(f"{self._python()} {entry}").job_id)

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
            "PYTHONDONTWRITEBYTECODE": "1",  # the snapshot stays what was submitted
            "OMP_NUM_THREADS": str(least_threads(self.cluster)),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            slurm_task.MARKS: str(self.sweep.absolute() / "requeue"),
            LOGS: str(private.folder(self.sweep.absolute(), "slurm")),
        }
        if not needed.gpus_per_node:
            values["DS_ACCELERATOR"] = "cpu"  # else DeepSpeed looks for one, and says so
        if uids := self.cluster.trusted_uids:
            values[private.TRUSTED] = " ".join(map(str, uids))
        check = private.shell_check(self.code.absolute(), snapshot.digest_of(self.code), self.cluster.trusted_uids)
        start = f'echo "{reasons.START} $((${{SLURM_RESTART_COUNT:-0}} + 1)) on ${{SLURMD_NODENAME:-$HOSTNAME}}"'
        return [start, *(f"export {key}={shlex.quote(value)}" for key, value in values.items()), TRAP, check]


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
