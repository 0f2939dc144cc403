"""Hours to the conclusions of a finished grid: `sft-sweeps next` against other orders of the same runs.

    python -m bench.next_replay [--orders 20] [STORE SWEEP ...]

Without a sweep: the paper's tables, on the plan of `study=paper`. Each line is a way of choosing; the columns are the
hours from when on 90 %, 95 % and all of the settled conclusions are held rightly and stay so (medians over orders, with
the range), and how often `next` needs fewer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from sft_sweeps.analysis import paper
from sft_sweeps.analysis.next_runs import Candidate
from sft_sweeps.analysis.observations import Observation, Setting
from sft_sweeps.analysis.replay import Grid, Replay, Replayer, at_random, by_advice, cheapest, successive_halving
from sft_sweeps.plan.build import Plan
from sft_sweeps.plan.serialize import from_json
from sft_sweeps.report.candidates import hours_of
from sft_sweeps.report.observe import observations, setting_of
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find

ROOT = Path(__file__).resolve().parents[1]
SHARES = (0.9, 0.95, 1.0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=20, help="of random choice, and of successive halving")
    parser.add_argument("store", nargs="?")
    parser.add_argument("sweep", nargs="*")
    options = parser.parse_args(arguments)
    grids = (
        {"the paper's tables": paper_grid(planned("study=paper"))} if options.store is None else dict(_stored(options))
    )
    for name, grid in grids.items():
        _show(name, grid, options.orders)
    return 0


def _stored(options: argparse.Namespace) -> Iterator[tuple[str, Grid]]:
    for name in options.sweep or [None]:
        sweep = find(Store(options.store), name)
        plan = sweep.plan()
        yield sweep.name, grid_of(plan, observations(plan, sweep.store(options.store)))


def grid_of(plan: Plan, observed: Sequence[Observation]) -> Grid:
    """Of the runs of a plan that are scored."""
    hours, scores = hours_of(plan), dict[str, list[Observation]]()
    for one in observed:
        if one.final:
            scores.setdefault(one.run, []).append(one)
    chosen = [run for run in plan.runs if run.id in scores]
    stages = {run.id: tuple((stage.id, hours(stage)) for stage in run.stages) for run in chosen}
    return Grid(tuple(Candidate(run.id, run.label, setting_of(run), stages[run.id]) for run in chosen), scores)


def paper_grid(plan: Plan) -> Grid:
    """The paper's scores on the runs that `study=paper` plans; a cell that is printed twice counts as it is first."""
    by_place: dict[object, dict[str, Observation]] = {}
    for one in paper.observations():
        by_place.setdefault(place(one.setting), {}).setdefault(one.benchmark, one)
    observed = [
        replace(one, setting=setting_of(run), run=run.id)
        for run in plan.runs
        for one in by_place.get(place(setting_of(run)), {}).values()
    ]
    return grid_of(plan, observed)


def place(setting: Setting) -> object:
    """What a row of the paper and a planned run have in common."""
    return setting.model, setting.arm, setting.k, frozenset((p.source, p.fraction) for p in setting.parts)


def planned(*overrides: str) -> Plan:
    """The plan of a command line, as `action=plan` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.json"
        line = [sys.executable, str(ROOT / "launch.py"), *overrides, "action=plan", f"plan.output={file}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([*line, "plan.measure=false"], cwd=folder, env=environment, check=True, capture_output=True)
        return from_json(json.loads(file.read_text(encoding="utf-8")))


def _show(name: str, grid: Grid, orders: int) -> None:
    replayer = Replayer(grid)
    print(f"{name}: {len(grid.candidates)} runs, {grid.hours:,.4g} hours, {replayer.conclusions} settled conclusions")
    ours = replayer.replay(by_advice)
    ways = {
        "next": [ours],
        "cheapest first": [replayer.replay(cheapest)],
        "successive halving": [replayer.replay(successive_halving(grid, seed)) for seed in range(orders)],
        "random order": [replayer.replay(at_random(seed)) for seed in range(orders)],
    }
    print(f"{'':20}" + "".join(f"{f'{share:.0%} right':>28}" for share in SHARES))
    for way, replays in ways.items():
        print(f"{way:20}" + "".join(f"{_cell(replays, ours, share):>28}" for share in SHARES))


def _cell(replays: Sequence[Replay], ours: Replay, share: float) -> str:
    hours = sorted(one.reached(share) for one in replays)
    if len(hours) == 1:
        return f"{hours[0]:,.4g}"
    wins = sum(ours.reached(share) < value for value in hours)
    return f"{median(hours):,.4g} ({hours[0]:,.3g}-{hours[-1]:,.3g}; {wins}/{len(hours)})"


if __name__ == "__main__":
    sys.exit(main())
