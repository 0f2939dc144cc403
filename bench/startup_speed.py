"""What starting a job costs: CPU seconds of the smallest job of each kind, as Slurm starts one.

Of the miniature a base model is prepared, one step trained, one item of each benchmark answered and scored: nearly all
that a job takes is its imports and what its libraries set up. Every round begins with an empty store, each job in a
process of its own, from a copy of the code without bytecode. Beside them stands what importing the libraries takes.

    python -m bench.startup_speed [--repeats 5] [--beside CHECKOUT] [--json]

CHECKOUT is a folder with another version of the project, which takes turns with this one.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from sft_sweeps.execution import Executions
from sft_sweeps.jobs import frozen
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.plan import serialize
from sft_sweeps.plan.build import Plan
from sft_sweeps.store import sweeps
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey

ROOT = Path(__file__).parent.parent
LEAST = ["data=mini_math", "data.fraction=1/256", "train.epochs=1", "evaluate.examples=1", "tracking=none"]
LIBRARIES = {
    "import torch": "import torch",
    "import torch, transformers' LLaMA": "import transformers.models.llama.modeling_llama",
    "import both, DeepSpeed": "import transformers.models.llama.modeling_llama, deepspeed",
}
OURS, BESIDE, LIBRARIES_ALONE = "this checkout", "beside", "libraries alone"
Seconds = dict[str, list[float]]


def planned(folder: Path) -> Plan:
    """One stage of one step, of the miniature, with its scores."""
    groups = [f"{group}=mini" for group in ("model", "train", "evaluate")]
    output = [f"output_dir={folder / 'none'}", f"plan.output={folder / 'plan.json'}"]
    command = [sys.executable, "launch.py", *groups, *LEAST, "action=plan", *output]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return serialize.from_json(json.loads((folder / "plan.json").read_text()))


def cpu_seconds(command: list[str], environment: Mapping[str, str]) -> float:
    """Of a program and those that it waited for; RuntimeError where it fails."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {said.read().decode()[-2000:]}")
    return used.ru_utime + used.ru_stime


def environment_of(code: Path) -> dict[str, str]:
    """As a batch script sets it (launch/slurm/sbatch.py)."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("SLURM_")},
        "PYTHONPATH": str(code),
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "DS_ACCELERATOR": "cpu",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "bench",
    }


def of_jobs(plan: Plan, code: Path) -> Iterator[tuple[str, float]]:
    """Everything that the plan needs, one job after the other, in an empty store: each job's kind and CPU seconds."""
    with tempfile.TemporaryDirectory() as name:
        store, copy = Store(Path(name) / "store"), Path(name) / "code"
        shutil.copytree(code / "sft_sweeps", copy / "sft_sweeps", ignore=shutil.ignore_patterns("__pycache__"))
        sweep = sweeps.freeze(plan, store, "bench", "", [])
        for number, job in enumerate(missing(survey(plan, store), Executions())):
            yield job.kind, _of_job(job, sweep.folder, f"bench-{number}", environment_of(copy))


def _of_job(job: Job, sweep: Path, call: str, environment: Mapping[str, str]) -> float:
    path, digest = frozen.write(sweep, call, {-1: job})
    entry = [sys.executable, "-u", "-m", "sft_sweeps.worker.slurm_entry", str(path), digest]
    return cpu_seconds(entry, environment)


def measure(repeats: int, checkouts: Mapping[str, Path]) -> dict[str, Seconds]:
    """The CPU seconds of every round, by the checkout's name and kind; the libraries' alone under LIBRARIES_ALONE."""
    found: dict[str, Seconds] = {name: {} for name in (LIBRARIES_ALONE, *checkouts)}
    with tempfile.TemporaryDirectory() as name:
        plan = planned(Path(name))
        for _ in range(repeats):
            for checkout, folder in checkouts.items():
                for kind, seconds in of_jobs(plan, folder):
                    found[checkout].setdefault(kind, []).append(seconds)
            for what, text in LIBRARIES.items():
                command = [sys.executable, "-c", text]
                found[LIBRARIES_ALONE].setdefault(what, []).append(cpu_seconds(command, environment_of(ROOT)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another version, in turns")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    checkouts = ({BESIDE: given.beside.absolute()} if given.beside else {}) | {OURS: ROOT.absolute()}
    found = measure(given.repeats, checkouts)
    medians = {
        where: {what: round(statistics.median(values), 3) for what, values in seconds.items()}
        for where, seconds in found.items()
    }
    if given.json:
        print(json.dumps({"cpu_seconds": medians[OURS], "medians": medians, "rounds": found}))
        return
    for where, seconds in medians.items():
        print(where)
        for what, value in seconds.items():
            print(f"  {what:<36} {value:6.2f} CPU-s")


if __name__ == "__main__":
    main()
