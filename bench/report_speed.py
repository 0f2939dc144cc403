"""How long the figures and tables of the paper's whole study take.

The scores are made up: of each run of the paper's tables as many right items as it prints, at random places, and for
MT-Bench grades around its mean in eight categories; the paper's own values stand beside.

    python -m bench.report_speed [--json]
"""

import argparse
import json
import random
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from sft_sweeps.analysis import paper
from sft_sweeps.analysis.observations import Observation
from sft_sweeps.report.figures.write import write


def scored(one: Observation) -> Observation:
    """A score of ours as the paper prints it, with items."""
    stream = random.Random(f"{one.run} {one.benchmark}")
    names = [f"{one.benchmark}/{number}" for number in range(one.n)]
    if one.share:
        right = set(stream.sample(names, round(one.value * one.n)))
        items = {name: float(name in right) for name in names}
    else:
        items = {name: min(10.0, max(1.0, stream.gauss(one.value, 2))) for name in names}
    kinds = {} if one.share else {name: f"category {number % 8 + 1}" for number, name in enumerate(names)}
    mean = sum(items.values()) / one.n
    low, high = mean - (one.value - one.low), mean + (one.high - one.value)
    ours = replace(one, origin="ours", printed="", flags=(), protocol="ours", value=mean, low=low, high=high)
    return replace(ours, items=items, categories=kinds, run=f"ours {one.run}", subject=f"ours {one.run}")


def measure() -> dict[str, float]:
    """Wall and CPU seconds; how many scores and files."""
    theirs = paper.observations()
    observations = [*map(scored, theirs), *theirs]
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        written = write(observations, Path(folder))
        seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": seconds, "cpu_seconds": cpu, "scores": len(theirs), "files": len(written.paths)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report_speed", description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found))
    else:
        print(", ".join(f"{name} {value:.1f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
