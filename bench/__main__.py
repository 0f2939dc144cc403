"""Run the benchmarks of speed and print each figure beside its target; `--json FILE` keeps them.

Wall times depend on what else the machine does: figures are medians, and the load average stands beside them.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench import encode_speed, evaluation_speed, growth

ROOT = Path(__file__).parent.parent
GRID = [
    "model=llama7b,llama13b",
    "strategy=dmt",
    "strategy.k=1,1/2,1/4,1/8,1/16,1/32,1/64,1/128,1/256,1/512",
    "data.fraction=1,1/2,1/4,1/8,1/16",
    "train.seed=0,1,2,3,4,5,6,7,8,9",
]
Figure = dict[str, Any]


def seconds(command: list[str], repeats: int) -> float:
    """Median wall time of a command run from the project's folder."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def start() -> Figure:
    """The launcher's own start-up."""
    return {"what": "launch.py --help", "value": seconds(["launch.py", "--help"], 5), "target": 1.5, "unit": "s"}


def plan() -> Figure:
    """Composing, checking and planning."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["launch.py", "-m", *GRID, "action=plan", "plan.measure=false", f"output_dir={folder}"]
        value = seconds(command, 3)
    return {"what": "plan of 1,000 distinct runs", "value": value, "target": 10.0, "unit": "s"}


def plan_paper() -> Figure:
    """The whole paper planned: CPU seconds; also its points composed, as a share of Hydra's time."""
    found = _told("bench.plan_speed")
    return {"what": "study=paper action=plan", "value": found["cpu_seconds"], "target": 5.0, "unit": "s", **found}


def quickstart() -> Figure:
    """The miniature study from an empty store: 10 stages trained, 30 scores."""
    with tempfile.TemporaryDirectory() as folder:
        value = seconds(["launch.py", "study=quickstart", "cluster=local", f"output_dir={folder}"], 1)
        results = json.loads(next(Path(folder).glob("sweeps/*/report/results.json")).read_text())
    if results["missing"]:
        raise RuntimeError(f"not every model was scored: {results['missing']}")
    return {"what": "study=quickstart, every model scored", "value": value, "target": 180.0, "unit": "s"}


def zero() -> Figure:
    """A ZeRO-3 step against the same step in plain torch, in one process, interleaved."""
    found = _told("bench.zero_overhead")
    return {"what": "ZeRO-3 step / plain torch step", "value": found["ratio"], "target": 1.3, "unit": "x", **found}


def submit() -> Figure:
    """Jobs, claims and sbatch calls of 1,020 stages, planned already."""
    found = _told("bench.submit_speed")
    return {"what": f"1,020 stages on {found['where']}", "value": found["seconds"], "target": 5.0, "unit": "s", **found}


def job_start() -> Figure:
    """The smallest job that trains, as Slurm starts one: CPU seconds; other kinds' are kept."""
    found = _told("bench.startup_speed")
    value = found["cpu_seconds"]["train"]
    return {"what": "a job of one training step", "value": value, "target": 6.0, "unit": "s", **found}


def status() -> Figure:
    """Where 1,020 stages stand, half of them done, half in the queue."""
    found = _told("bench.status_speed")
    return {"what": "status of 1,020 stages", "value": found["seconds"], "target": 2.0, "unit": "s", **found}


def report() -> Figure:
    """The whole report of the paper's 123 rows: CPU seconds, whatever else the machine does."""
    found = _report()
    return {"what": "report of study=paper", "value": found["cpu_seconds"], "target": 60.0, "unit": "s", **found}


def page() -> Figure | None:
    """Its page in a browser, until every chart is drawn: wall seconds."""
    found, what = _report(), "page of study=paper, all charts drawn"
    if "all_charts_seconds" not in found:
        return None
    return {"what": what, "value": found["all_charts_seconds"], "target": 2.0, "unit": "s", **found}


@lru_cache(maxsize=1)
def _report() -> Figure:
    return _told("bench.report_speed")


def predict() -> Figure:
    """`sft-sweeps predict` and `next` on the paper's rows, the slower of the two: CPU seconds."""
    found = _told("bench.predict_speed")
    return {
        "what": "predict and next of study=paper",
        "value": found["cpu_seconds"],
        "target": 10.0,
        "unit": "s",
        **found,
    }


def relaunch() -> Figure:
    """A finished sweep of 1,000 runs, launched again: CPU seconds; also its plan and status, and their questions."""
    found = growth.measure(1000, ["relaunch", "planned again", "status"])
    value = found["relaunch"]["cpu_seconds"]
    return {"what": "a finished sweep of 1,000 runs again", "value": value, "target": 10.0, "unit": "s", **found}


def _told(module: str) -> Figure:
    """What a benchmark in a process of its own says."""
    command = [sys.executable, "-m", module, "--json"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(out[out.index("{") :]))


def encode() -> Figure | None:
    """Encoding GSM8K and Code Alpaca from their files, against FastChat's way; in CPU time, as a share of its."""
    if not encode_speed.available():
        return None
    out = subprocess.run(
        [sys.executable, "-m", "bench.encode_speed", "--json"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    found = json.loads(out[out.index("{") :])
    return {
        "what": "encode + mask / FastChat's way",
        "value": 1 / found["times_fastchat"],
        "target": 0.1,
        "unit": "x",
        **found,
    }


def scaling() -> Figure:
    """A training step on mixed lengths on two processes, as a share of its time on one."""
    found = _told("bench.scaling")
    return {"what": "a step on 2 processes / on 1", "value": found["two"] / found["one"], "target": 0.6, "unit": "x"}


def trl() -> Figure:
    """A training step on mixed lengths in TRL's SFTTrainer, padded as it comes, against ours; both ways are kept."""
    if importlib.util.find_spec("trl") is None:
        raise RuntimeError("TRL is not installed: pip install -e '.[bench]'")
    path = ROOT / "bench" / "results" / "trl-cpu.json"
    command = [sys.executable, "-m", "bench.trl_speed", "--json", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    mixed = next(f for f in json.loads(path.read_text())["figures"] if f["profile"] == "mixed")
    value, free = mixed["ratio_padded"], mixed["ratio_padding_free"]
    return {"what": "our step / TRL's, mixed lengths", "value": 1 / value, "target": 1 / 3, "unit": "x", "free": free}


def gpu() -> Figure | None:
    """A training step of a 1B and a 7B LLaMA on a GPU against TRL's best; all ways are kept."""
    import torch

    if not torch.cuda.is_available():
        return None
    path = ROOT / "bench" / "results" / "gpu.json"
    subprocess.run([sys.executable, "-m", "bench.gpu_speed", "--json", str(path)], cwd=ROOT, check=True)
    figures = json.loads(path.read_text())["figures"]
    speeds = {shape: {f["way"]: f.get("tokens_per_second") for f in found} for shape, found in figures.items()}
    value = max((ways["trl_best"] or 0) / ways["ours"] for ways in speeds.values())
    return {"what": "TRL's best / ours, tokens/s on a GPU", "value": value, "target": 1 / 1.3, "unit": "x"}


FIGURES: dict[str, Callable[[], Figure | None]] = {
    "encode": encode,
    "start": start,
    "plan": plan,
    "plan_paper": plan_paper,
    "submit": submit,
    "job_start": job_start,
    "status": status,
    "relaunch": relaunch,
    "report": report,
    "page": page,
    "predict": predict,
    "zero": zero,
    "sandbox": evaluation_speed.sandbox,
    "gsm8k": evaluation_speed.gsm8k_rules,
    "decoding": evaluation_speed.decoding,
    "statistics": evaluation_speed.runs,
    "quickstart": quickstart,
    "scaling": scaling,
    "trl": trl,
    "gpu": gpu,
}


def main() -> int:
    """Exit status 1 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(FIGURES)} (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in FIGURES]:
        parser.error(f"no figure {', '.join(unknown)}; there are: {', '.join(FIGURES)}")
    figures = []
    for name in options.names or FIGURES:
        if (measured := FIGURES[name]()) is None:
            print(f"{name}: NOT MEASURED, what it needs is not at hand", flush=True)
            continue
        figure = {**measured, "load": os.getloadavg()[0]}
        figures.append(figure)
        verdict = "ok" if figure["value"] <= figure["target"] else "MISSED"
        print(
            f"{figure['what']:<40} {figure['value']:8.2f} {figure['unit']:<2} target {figure['target']:g}  {verdict}"
            f"  (load {figure['load']:.1f})",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))
    return int(any(figure["value"] > figure["target"] for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
