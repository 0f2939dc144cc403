"""How a finished sweep's cost grows with its size: CPU seconds and file operations of what people type again and again.

The store is made up: each stage is done and scored on the miniature's three benchmarks, with the files that a worker
leaves. Then the same sweep is launched again (which finds nothing to do), planned, and its status asked. Operations
are what the kernel was asked about paths in the store (`strace`): files opened or looked at, folders listed.

    python -m bench.growth [--stages 99 399 999] [--command relaunch plan status] [--json]
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sft_sweeps.jobs import attempts
from sft_sweeps.plan import serialize
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.spec.training import Stage
from sft_sweeps.stats import proportion
from sft_sweeps.store.answers import ITEMS, VERDICTS
from sft_sweeps.store.store import Store, check_identity, write_record
from sft_sweeps.tracking.metrics import METRICS

ROOT = Path(__file__).parent.parent
MODEL = ("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
ITEMS_EACH = 120
LAST = {"step": 50, "steps": 50, "loss": 1.0}


def grid(stages: int) -> list[str]:
    """The command line of a sweep of so many stages: chains of three, at many fractions with three seeds each."""
    fractions = [f"{n}/1000" for n in range(1000, 1000 - stages // 9, -1)]
    swept = [f"data.fraction={','.join(fractions)}", "train.seed=0,1,2"]
    groups = [f"{group}=mini" for group in ("model", "data", "train", "evaluate")]
    return ["launch.py", "-m", *groups, "strategy=sequential", "tracking=none", "cluster=local", *swept]


def fill(plan: Plan, store: Store) -> None:
    """Everything of a plan done, as workers leave it."""
    for subject in plan.subjects:
        folder = store.folder(subject)
        (folder / "model").mkdir(parents=True)
        for name in MODEL:
            (folder / "model" / name).write_text(name)
        (folder / "logs").mkdir()
        (folder / "logs" / "train-0.log").write_text("trained\n")
        check_identity(folder, subject.payload)
        files = [f"model/{name}" for name in MODEL]
        more = _trained(folder) if isinstance(subject, Stage) else []
        write_record(folder, subject.payload, [*files, *more], {"last": LAST} if more else {})
    for number, score in enumerate(plan.scores):
        _scored(store, score, random.Random(number))


def _trained(folder: Path) -> list[str]:
    attempts.begin(folder, "4711", 0, 0)
    lines = (json.dumps({"step": n, "steps": 50, "loss": 1.0, "seconds": 1.0}) + "\n" for n in range(1, 51))
    (folder / METRICS).write_text("".join(lines))
    attempts.end(folder, "done")
    (folder / "data.json").write_text("{}")
    return [METRICS, "data.json"]


def _scored(store: Store, score: Score, chance: random.Random) -> None:
    answers, verdicts = store.generation(score.generation), store.score(score)
    names = [f"{score.generation.benchmark.name}/test/{n}" for n in range(ITEMS_EACH)]
    rows = [{"item": name, "correct": chance.random() < 0.6, "reason": "right", "details": {}} for name in names]
    for folder, name in ((answers, ITEMS), (verdicts, VERDICTS)):
        folder.mkdir(parents=True)
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_record(answers, score.generation.payload, [ITEMS], {"n": ITEMS_EACH})
    k = sum(bool(row["correct"]) for row in rows)
    share = proportion(k, ITEMS_EACH)
    found = {"metric": "accuracy", "value": share.value, "low": share.low, "high": share.high, "n": ITEMS_EACH, "k": k}
    write_record(verdicts, score.payload, [VERDICTS], {"score": found})


def measure(stages: int, commands: Iterable[str]) -> dict[str, Any]:
    """CPU seconds and file operations a stage of each command on a finished sweep of so many stages."""
    room = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=room) as name:
        folder = Path(name)
        store, launch = folder / "store", [*grid(stages), f"output_dir={folder / 'store'}"]
        _run([*launch, "action=plan", f"plan.output={folder / 'plan.json'}"])
        plan = serialize.from_json(json.loads((folder / "plan.json").read_text()))
        fill(plan, Store(store))
        _run(launch)  # freezes its plan and writes its report
        typed = {
            "relaunch": launch,
            "plan": [*launch, "action=plan"],
            "status": ["-m", "sft_sweeps.commands.main", "status", "--output-dir", str(store)],
            "report": ["-m", "sft_sweeps.commands.main", "report", "--output-dir", str(store), "--out", name + "/out"],
        }
        found: dict[str, Any] = {"stages": len(plan.stages)}
        for command in commands:
            seconds = _run(typed[command])
            found[command] = {"cpu_seconds": round(seconds, 2)}
            if shutil.which("strace"):
                operations = _operations(typed[command], store)
                found[command]["operations_a_stage"] = round(operations / len(plan.stages), 1)
    return found


def _run(command: list[str]) -> float:
    """Run one; its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _operations(command: list[str], store: Path) -> int:
    """How often the kernel was asked about a path in the store; not counted is what it knows of a file that is open."""
    with tempfile.NamedTemporaryFile("r") as trace:
        traced = ["strace", "-f", "-qq", "-y", "-e", "trace=%file", "-o", trace.name, sys.executable]
        subprocess.run([*traced, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ)
        return sum(str(store) in line and "AT_EMPTY_PATH" not in line for line in trace)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, nargs="+", default=[99, 399, 999])
    parser.add_argument("--command", nargs="+", default=["relaunch", "plan", "status"])
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    for stages in given.stages:
        found = measure(stages, given.command)
        if given.json:
            print(json.dumps(found), flush=True)
            continue
        for command in given.command:
            figures = found[command]
            operations = figures.get("operations_a_stage", "not counted (no strace)")
            print(
                f"{command} of {found['stages']:,} finished stages: {figures['cpu_seconds']:.1f} CPU-s, "
                f"{operations} file operations a stage",
                flush=True,
            )


if __name__ == "__main__":
    main()
