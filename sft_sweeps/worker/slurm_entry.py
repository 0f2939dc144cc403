"""What `srun` starts for every task of an `sbatch` call: it finds the task's job and does it.

    python -u -m sft_sweeps.worker.slurm_entry CALL DIGEST

CALL is a JSON file that names, for each index of the array (-1: no array), the job's file and its digest. What others
may have written is not read, whatever it says (files/private.py), and DIGEST is that of the file as it was submitted.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from sft_sweeps.errors import RunError, SweepError
from sft_sweeps.files import private
from sft_sweeps.worker import slurm_task


def main(call: str, digest: str) -> None:
    """Do the task's job; leaves with its exit status."""
    try:
        content = private.read(Path(call))
        if hashlib.sha256(content).hexdigest() != digest:
            raise RunError(f"{call} was changed after it was submitted; launch again")
        path, of_job = json.loads(content)[os.environ.get("SLURM_ARRAY_TASK_ID", "-1")]
        private.read(Path(path))
    except SweepError as error:
        print(error, flush=True)
        sys.exit(error.exit_status)
    slurm_task.run(path, of_job)


if __name__ == "__main__":
    main(*sys.argv[1:])
