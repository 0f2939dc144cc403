"""What `srun` starts for every task of an `sbatch` call: it finds the task's job and does it.

    python -u -m sft_sweeps.worker.slurm_entry CALL DIGEST

CALL is the file that the jobs of the call are frozen in (jobs/frozen.py), DIGEST that of its first line as it was
submitted, which holds the jobs' own. What others may have written is not read, whatever it says (files/private.py).
"""

import os
import sys
from pathlib import Path

from sft_sweeps.errors import SweepError
from sft_sweeps.jobs import frozen
from sft_sweeps.worker import slurm_task


def main(call: str, digest: str) -> None:
    """Do the task's job; leaves with its exit status."""
    try:
        job, of_job = frozen.read(Path(call), digest, os.environ.get("SLURM_ARRAY_TASK_ID", "-1"))
    except SweepError as error:
        print(error, flush=True)
        sys.exit(error.exit_status)
    slurm_task.run(job, of_job, Path(call))


if __name__ == "__main__":
    main(*sys.argv[1:])
