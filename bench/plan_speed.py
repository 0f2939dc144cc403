"""What planning the whole paper takes: `study=paper action=plan` in a process of its own, and its points composed.

    python -m bench.plan_speed [--json]

CPU time of the whole process, the median of five. Beside it, in this process, the study's points composed entry by
entry as a launch does (sft_sweeps/config/entries.py), as a share of the time in which Hydra composes them whole.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from sft_sweeps.config.compose import Composer
from sft_sweeps.config.schema import register

ROOT = Path(__file__).parent.parent
REPEATS = 5


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def composer() -> Composer:
    """A new one, which has composed nothing."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        if hydra is None:
            raise RuntimeError("Hydra was not initialised")
        master = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
        return Composer(hydra.config_loader, master)


def timed(compose: Callable[[list[str]], Any], points: list[list[str]]) -> float:
    started = time.process_time()
    for point in points:
        compose(point)
    return time.process_time() - started


def measure() -> dict[str, Any]:
    """CPU seconds of the plan, and of composing its points both ways."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/plan.json"
        line = ["launch.py", "study=paper", "action=plan", f"output_dir={folder}", f"plan.output={file}"]
        seconds = statistics.median(cpu_seconds(line) for _ in range(REPEATS))
        runs = json.loads(Path(file).read_text())["runs"]
    points = [point.split() for run in runs for point in run["points"]]
    quick, whole = timed(composer().config, points), timed(composer().whole, points)
    return {"cpu_seconds": seconds, "rows": len(points), "quick": quick, "whole": whole, "ratio": quick / whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    found = measure()
    if parser.parse_args().json:
        print(json.dumps(found))
        return
    print(f"study=paper action=plan, {found['rows']} rows: {found['cpu_seconds']:.2f} s of CPU")
    print(f"its points composed: {found['quick']:.2f} s; whole by Hydra {found['whole']:.2f} s: {found['ratio']:.2f}")


if __name__ == "__main__":
    main()
