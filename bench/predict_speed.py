"""What `sft-sweeps predict` and `next` take on the paper's 123 rows, a third of whose runs are still to come.

    python -m bench.predict_speed [--json]

The store is made up (bench/growth.py), with as many items as GSM8K has. CPU time of each command's process.
"""

import argparse
import json
import random
import shutil
import tempfile
from typing import Any

from bench import growth
from bench.next_replay import planned
from bench.plan_speed import cpu_seconds
from sft_sweeps.plan.build import Plan
from sft_sweeps.store.store import RECORD, Store
from sft_sweeps.store.sweeps import freeze

ITEMS = 1319
MISSING = 0.33  # of the runs


def fill(plan: Plan, store: Store) -> int:
    """A finished sweep, of which some runs are taken away again; how many."""
    growth.ITEMS_EACH = ITEMS
    growth.fill(plan, store)
    chance = random.Random(0)
    gone = {run.id: run for run in plan.runs if chance.random() < MISSING}
    for score in plan.scores:
        if score.generation.subject.id in gone:
            shutil.rmtree(store.score(score))
    for run in gone.values():
        (store.folder(run.subject) / RECORD).unlink(missing_ok=True)
    return len(gone)


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        plan = planned("study=paper", f"output_dir={folder}")
        missing = fill(plan, Store(folder))
        freeze(plan, Store(folder), "paper", "", [])
        command = ["-m", "sft_sweeps.commands.main"]
        seconds = {
            name: cpu_seconds([*command, name, "--output-dir", folder, "--json"]) for name in ("predict", "next")
        }
    return {
        "cpu_seconds": max(seconds.values()),
        **seconds,
        "rows": plan.rows,
        "runs": len(plan.runs),
        "missing": missing,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found))
    else:
        print(f"predict {found['predict']:.1f} s, next {found['next']:.1f} s of CPU on {found['rows']} rows")


if __name__ == "__main__":
    main()
