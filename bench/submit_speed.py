"""How long submitting a sweep of a thousand stages takes after planning: jobs, claims, snapshot, sbatch calls.

On the throw-away Slurm of the tests where Slurm is installed; elsewhere `sbatch` and `squeue` are small programs, and
the figure says so. Every job waits for an hour and is cancelled at the end.

    python -m bench.submit_speed [--repeats 3] [--json]
"""

import argparse
import contextlib
import importlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from bench.status_speed import planned
from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.config.schema import Config, StudyConfig, TrackingConfig
from sft_sweeps.execution import Executions
from sft_sweeps.jobs.job import missing
from sft_sweeps.launch.settings import with_tracking
from sft_sweeps.launch.slurm.submit import Submitter
from sft_sweeps.plan.build import Plan
from sft_sweeps.slurm import queue
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import freeze

TESTS = Path(__file__).parent.parent / "tests"
CONFIG = cast(Config, SimpleNamespace(tracking=TrackingConfig(), study=StudyConfig(name="speed")))
CLUSTER = ClusterConfig(name="slurm", sbatch={"begin": "now+1hour"}, time="10")


@contextlib.contextmanager
def cluster(folder: Path, extra: str = "") -> Iterator[str]:
    """A Slurm in this process's environment, with `extra` lines of slurm.conf; its name."""
    before = dict(os.environ)
    try:
        if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") and shutil.which("sbatch"):
            sys.path.insert(0, str(TESTS))
            with importlib.import_module("slurm_cluster").running(extra=extra) as made:
                os.environ.update(made.env)
                yield "a real Slurm"
        else:
            _pretend(folder)
            yield "a pretended Slurm"
    finally:
        os.environ.clear()
        os.environ.update(before)


def _pretend(folder: Path) -> None:
    count = folder / "count"
    programs = {
        "sbatch": f'n=$(($(cat {count} 2>/dev/null || echo 0) + 1)); echo $n > {count}; echo "Submitted batch job $n"',
        "squeue": "true",
        "scontrol": "echo MaxArraySize = 10001",
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def submit(plan: Plan, root: Path) -> tuple[float, int, int]:
    """Seconds, jobs, calls of a first launch into an empty store; its jobs are cancelled."""
    store = Store(root)
    started = time.perf_counter()
    sweep = freeze(plan, store, "speed", "", [])
    jobs = [with_tracking(job, plan, CONFIG, sweep.name) for job in missing(survey(plan, store), Executions())]
    done = Submitter(jobs, store, sweep, CLUSTER, {}).run()
    took = time.perf_counter() - started
    if len(done.numbers) != len(jobs):
        raise RuntimeError(f"{len(jobs)} jobs, {len(done.numbers)} submitted")
    with contextlib.suppress(Exception):
        queue.cancel({number.partition("_")[0] for number in done.numbers.values()})
    return took, len(jobs), done.calls


def measure(repeats: int) -> dict[str, float | str]:
    """Median wall seconds."""
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as where:
        plan = planned(Path(name))
        runs = [submit(plan, Path(name) / str(n)) for n in range(repeats)]
    seconds = statistics.median(took for took, _, _ in runs)
    return {"seconds": seconds, "stages": len(plan.stages), "jobs": runs[0][1], "calls": runs[0][2], "where": where}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = measure(given.repeats)
    text = f"{found['stages']:,} stages ({found['jobs']:,} jobs) in {found['calls']} calls on {found['where']}"
    print(json.dumps(found) if given.json else f"{text}: {found['seconds']:.2f} s")


if __name__ == "__main__":
    main()
