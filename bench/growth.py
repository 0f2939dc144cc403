"""How a sweep's cost grows with its size: CPU seconds, memory, questions to the store, its files.

For each size, each in a process of its own: the sweep is planned against an empty store; submitted to the throw-away
Slurm of the tests (where none is installed, to small programs in its place); then, in a made-up store with all of it
done and scored on the miniature's three benchmarks, launched again (which finds nothing to do), planned, its status
asked and its report written. A run is one stage.

Questions are what the kernel was asked about paths in the store (`strace`): files read, folders listed, paths looked
at, and what was written, made, renamed or removed. An exponent is the slope between two sizes on logarithmic axes: 1
is a cost in proportion to the size; more than 1.1 is marked.

    python -m bench.growth [--runs 100 1000 10000] [--command plan submit relaunch status report] [--json FILE]
"""

import argparse
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.submit_speed import cluster
from sft_sweeps.jobs import attempts
from sft_sweeps.plan import serialize
from sft_sweeps.plan.build import Plan
from sft_sweeps.slurm import queue
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
MOST = 1.1  # an exponent above it is marked
KINDS = ("read", "listed", "looked at", "changed")
# In a small process between: the most memory that a process had counts that of the one which started it.
USED = """
import json, resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""
Found = dict[str, Any]


def grid(stages: int) -> list[str]:
    """The command line of a sweep of so many stages: chains of three, at many fractions with three seeds each."""
    fractions = [f"{n}/1000" for n in range(1000, 1000 - stages // 9, -1)]
    return [*_mini("sequential"), f"data.fraction={','.join(fractions)}", "train.seed=0,1,2"]


def runs_of_one_stage(runs: int) -> list[str]:
    """The command line of a sweep of so many runs, a stage each: ten fractions with a tenth as many seeds."""
    fractions = [f"{n}/10" for n in range(10, 0, -1)]
    seeds = map(str, range(runs // len(fractions)))
    return [*_mini("multi_task"), f"data.fraction={','.join(fractions)}", f"train.seed={','.join(seeds)}"]


def _mini(strategy: str) -> list[str]:
    groups = [f"{group}=mini" for group in ("model", "data", "train", "evaluate")]
    return ["launch.py", "-m", *groups, f"strategy={strategy}", "tracking=none"]


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


def measure(runs: int, commands: Collection[str], launch: Sequence[str] = ()) -> Found:
    """What each command costs on a sweep of so many runs; `launch`: of this command line in place of them."""
    room = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=room) as name:
        folder = Path(name)
        store, line = folder / "store", list(launch or runs_of_one_stage(runs))
        here = [*line, "cluster=local", f"output_dir={store}"]
        planned = [*here, "action=plan", f"plan.output={folder / 'plan.json'}"]
        found: Found = {"runs": runs}
        found |= {"plan": _cost(planned, store)} if "plan" in commands else {}
        _run(planned)
        plan = serialize.from_json(json.loads((folder / "plan.json").read_text()))
        found |= {"stages": len(plan.stages), "scores": len(plan.scores)}
        found |= {"submit": _submit(line, folder)} if "submit" in commands else {}
        if not {*commands} - {"plan", "submit"}:
            return found
        fill(plan, Store(store))
        found["inodes"] = {"finished": _inodes(store)}
        _run(here)  # freezes its plan and writes its report
        found["inodes"]["with its sweep and report"] = _inodes(store)
        typed = {
            "relaunch": here,
            "planned again": [*here, "action=plan"],
            "status": ["-m", "sft_sweeps.commands.main", "status", "--output-dir", str(store)],
            "report": ["-m", "sft_sweeps.commands.main", "report", "--output-dir", str(store), "--out", name + "/out"],
        }
        found |= {command: _cost(typed[command], store) for command in typed if command in commands}
    return found


def _submit(line: Sequence[str], folder: Path) -> Found:
    """A first launch into an empty store on Slurm; its jobs wait for an hour and are cancelled."""
    slurm = [*line, "cluster=slurm", "+cluster.sbatch.begin=now+1hour", "cluster.time=10"]
    (folder / "programs").mkdir()
    with cluster(folder / "programs", "MaxJobCount=100000") as where:
        stores = folder / "submitted", folder / "traced"
        cost = _run([*slurm, f"output_dir={stores[0]}"])
        counted = _questions([*slurm, f"output_dir={stores[1]}"], stores[1])
        submitted = [job for store in stores for job in _submitted(store)]
        queue.cancel({job.partition("_")[0] for job in submitted})
        return {**cost, **counted, "where": where, "jobs": len(submitted) // 2, "inodes": _inodes(stores[0])}


def _submitted(store: Path) -> Iterator[str]:
    for path in store.glob("sweeps/*/submissions.jsonl"):
        for line in path.read_text().splitlines():
            yield from json.loads(line)["jobs"].values()


def _cost(command: Sequence[str], store: Path) -> Found:
    return {**_run(command), **_questions(command, store)}


def _run(command: Sequence[str]) -> Found:
    """Run one: its CPU seconds with those of what it started, and the most memory that one of these processes had."""
    measured = [sys.executable, "-c", USED, sys.executable, *command]
    told = subprocess.run(measured, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    status, seconds, kilobytes = json.loads(told.stdout)
    if status:
        raise subprocess.CalledProcessError(status, [*command])
    return {"cpu_seconds": round(seconds, 2), "memory_mb": kilobytes // 1024}


def _questions(command: Sequence[str], store: Path) -> Found:
    """How often the kernel was asked about a path in the store; not counted is what it knows of a file that is open."""
    if not shutil.which("strace"):
        return {}
    with tempfile.NamedTemporaryFile("r") as trace:
        traced = ["strace", "-f", "-qq", "-y", "-e", "trace=%file", "-o", trace.name, sys.executable]
        subprocess.run([*traced, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        asked = (line for line in trace if str(store) in line and "AT_EMPTY_PATH" not in line)
        counts = Counter(map(_kind, asked))
    return {"questions": {kind: counts[kind] for kind in KINDS}}


def _kind(line: str) -> str:
    """What a line of strace's asks of a path."""
    call = re.search(r"[a-z]\w*(?=\()", line)
    name = call.group() if call else ""
    if name.startswith("open"):
        read = "listed" if "O_DIRECTORY" in line else "read"
        return "changed" if re.search("O_WRONLY|O_RDWR|O_CREAT", line) else read
    return "looked at" if re.search("stat|access|readlink|getxattr|chdir|getcwd", name) else "changed"


def _inodes(folder: Path) -> int:
    """Files and folders in a folder."""
    return sum(len(folders) + len(files) for _, folders, files in os.walk(folder))


def _values(found: Found) -> Iterator[tuple[str, str, float]]:
    """(command, what, value) of all that was measured of a size."""
    for command, of in found.items():
        if isinstance(of, Mapping) and command != "inodes":
            yield command, "CPU-s", of["cpu_seconds"]
            yield command, "MB", of["memory_mb"]
            if counts := of.get("questions"):
                yield command, "questions", sum(counts.values())


def exponents(found: Sequence[Found]) -> Iterator[tuple[str, str, float]]:
    """The slope on logarithmic axes of each value between each size and the next; the largest of them."""
    steepest: dict[tuple[str, str], float] = {}
    for small, large in pairwise(found):
        before = {(command, what): value for command, what, value in _values(small)}
        for command, what, value in _values(large):
            if less := before.get((command, what)):
                slope = math.log(value / less) / math.log(large["runs"] / small["runs"])
                steepest[command, what] = max(slope, steepest.get((command, what), slope))
    yield from ((command, what, slope) for (command, what), slope in steepest.items())


def told(found: Found) -> Iterator[str]:
    """Lines for a size."""
    for command, of in found.items():
        if not isinstance(of, Mapping) or command == "inodes":
            continue
        counts = of.get("questions", {})
        shown = ", ".join(f"{count:,} {kind}" for kind, count in counts.items()) or "not counted (no strace)"
        on = f" ({of['jobs']:,} jobs, {of['where']})" if "where" in of else ""
        each = f" = {sum(counts.values()) / found['stages']:.1f} a stage" if counts else ""
        took = f"{of['cpu_seconds']:.1f} CPU-s, {of['memory_mb']:,} MB"
        yield f"{command} of {found['runs']:,} runs{on}: {took}, {shown}{each}"
    for when, count in found.get("inodes", {}).items():
        yield f"files and folders, {when}: {count:,} = {count / found['stages']:.1f} a stage"


def _tens(text: str) -> int:
    """A number of runs that ten fractions make; argparse tells of another."""
    if (runs := int(text)) < 10 or runs % 10:
        raise argparse.ArgumentTypeError(f"{text} runs: ten, or a multiple of ten")
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=_tens, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--command", nargs="+", default=["plan", "submit", "relaunch", "status", "report"])
    parser.add_argument("--json", type=Path, help="write what was found there")
    given = parser.parse_args()
    found: list[Found] = []
    for runs in given.runs:
        found.append(measure(runs, given.command))
        print("\n".join(told(found[-1])), flush=True)
    slopes = list(exponents(found))
    for command, of, slope in slopes:
        print(f"{command}, {of}: exponent {slope:.2f}{'  WORSE THAN LINEAR' if slope > MOST else ''}")
    if given.json:
        given.json.write_text(
            json.dumps({"sizes": found, "exponents": [(*what, round(slope, 2)) for *what, slope in slopes]}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
