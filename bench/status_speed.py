"""How long `sft-sweeps status` takes for a sweep of a thousand stages on a Slurm cluster.

The store is made up: half of the stages are done, with metrics and accounts of their starts; the others wait in a
pretended queue, each with a claim, an identity and its job, and so do the jobs that answer and score. `squeue` is a
small program that prints that queue.

    python -m bench.status_speed [--repeats 3] [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sft_sweeps.jobs import attempts, submissions
from sft_sweeps.plan import serialize
from sft_sweeps.plan.build import Plan
from sft_sweeps.slurm.queue import FIELD, RECORD
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims, sweeps
from sft_sweeps.store.store import Store, check_identity, write_record
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.tracking.metrics import METRICS

ROOT = Path(__file__).parent.parent
GRID = [
    "model=llama7b,llama13b",
    "strategy=sequential",
    "data.fraction=1,1/2,1/4,1/8,1/16",
    "train.seed=" + ",".join(map(str, range(34))),
]
NUMBER = "4711"


def planned(folder: Path) -> Plan:
    """The plan of a real grid: 340 runs of three stages each."""
    command = [
        sys.executable,
        "launch.py",
        "-m",
        *GRID,
        "action=plan",
        "plan.measure=false",
        f"plan.output={folder / 'plan.json'}",
    ]
    subprocess.run([*command, f"output_dir={folder / 'none'}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return serialize.from_json(json.loads((folder / "plan.json").read_text()))


def done(store: Store, stage: Stage) -> None:
    """As a worker leaves a finished stage."""
    folder = store.folder(stage)
    (folder / "model").mkdir(parents=True)
    for name in ("config.json", "model-1.safetensors", "model-2.safetensors", "tokenizer.json"):
        (folder / "model" / name).write_text(name)
    check_identity(folder, stage.payload)
    attempts.begin(folder, f"{NUMBER}_0", 0, stage.model.gpus)
    lines = (json.dumps({"step": n, "steps": 50, "loss": 1.0, "seconds": 1.0}) + "\n" for n in range(1, 51))
    (folder / METRICS).write_text("".join(lines))
    attempts.end(folder, "done")
    files = [str(path.relative_to(folder)) for path in (folder / "model").iterdir()]
    write_record(folder, stage.payload, [*files, METRICS], {})


def pending(store: Store, stage: Stage, sweep: Sweep, call: str, index: int) -> str:
    """As the launcher leaves a submitted stage; its line in the queue."""
    folder, number = store.folder(stage), f"{NUMBER}_{index}"
    folder.mkdir(parents=True)
    check_identity(folder, stage.payload)
    claim = claims.take(folder, sweep.name, call, index)
    if claim is None:
        raise RuntimeError(f"{folder} is claimed already")
    claims.confirm(folder, claim, number)
    return listed(number, "Priority", call)


def listed(number: str, reason: str, call: str) -> str:
    """A pending job in squeue's answer."""
    return RECORD + FIELD.join((number, claims.user(), "PENDING", reason, "", "main", "1-00:00:00", call))


def fill(plan: Plan, folder: Path) -> str:
    """The store of a sweep half done; what `squeue` prints."""
    store = Store(folder / "store")
    sweep = sweeps.freeze(plan, store, "speed", "", [])
    call, half = f"{sweep.name}.abc123", len(plan.stages) // 2
    for stage in plan.stages[:half]:
        done(store, stage)
    queue = [pending(store, stage, sweep, call, n) for n, stage in enumerate(plan.stages[half:])]
    jobs = {f"train-{stage.id}": f"{NUMBER}_{n}" for n, stage in enumerate(plan.stages[half:])}
    for subject in dict.fromkeys(generation.subject.id for generation in plan.generations):
        for kind in ("generate", "score"):
            jobs[f"{kind}-{subject}"] = f"{NUMBER}_{len(jobs)}"
            queue.append(listed(jobs[f"{kind}-{subject}"], "Dependency", call))
    line = {"call": call, "time": "", "jobs": jobs, "dependency": "", "gpus": 8}
    (sweep.folder / submissions.SUBMISSIONS).write_text(json.dumps(line) + "\n")
    return "\n".join(queue) + "\n"


def measure(repeats: int) -> dict[str, float]:
    """Median wall seconds of the command, and how many stages it told of."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "queue").write_text(fill(planned(folder), folder))
        (folder / "squeue").write_text(f"#!/bin/sh\ncat {folder / 'queue'}\n")
        (folder / "squeue").chmod(0o755)
        environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        command = [
            sys.executable,
            "-m",
            "sft_sweeps.commands.main",
            "status",
            "--json",
            "--output-dir",
            str(folder / "store"),
        ]
        times = []
        for _ in range(repeats):
            started = time.perf_counter()
            out = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE).stdout
            times.append(time.perf_counter() - started)
        found = json.loads(out)["totals"]["states"]
    if set(found) != {"done", "pending"}:
        raise RuntimeError(f"the status is wrong: {found}")
    return {"seconds": statistics.median(times), "stages": sum(found.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = measure(given.repeats)
    print(json.dumps(found) if given.json else f"status of {found['stages']:,} stages: {found['seconds']:.2f} s")


if __name__ == "__main__":
    main()
