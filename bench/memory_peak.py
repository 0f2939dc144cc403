"""The memory planner against the peak of real steps on a CPU: fp32, one process, whole rows of supervised tokens.

Each shape runs in a process of its own, whose resident memory is taken before the model is built and at its highest.
What the planner reserves for a GPU's own needs is left out. The larger, the closer: libraries' buffers are not planned.

    python -m bench.memory_peak [--json FILE]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.zero_overhead import RECIPE
from sft_sweeps.execution import TrainExecution
from sft_sweeps.plan import memory
from sft_sweeps.spec.training import Shape

SHAPES = {
    "40 M": Shape(512, 1376, layers=8, heads=8, kv_heads=8, vocab_size=8000, max_positions=2048),
    "150 M": Shape(768, 2048, layers=12, heads=12, kv_heads=12, vocab_size=32000, max_positions=2048),
}
CASES = [(name, tokens, again) for name in SHAPES for tokens in (1024, 2048) for again in (False, True)]


def resident() -> int:
    """Bytes now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak(name: str, tokens: int, recompute: bool) -> dict[str, Any]:
    """Measured and planned bytes of three steps; in a process of its own."""
    import torch

    from sft_sweeps.train import head, loss, ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process

    shape, execution = SHAPES[name], TrainExecution(recompute=recompute, whole_parameters=0)
    memory.CHUNK = head.CHUNK["cpu"]  # a GPU's is larger
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-c", MAKE, name, scratch], check=True)  # numpy's copies are not ours
        prepare_process(execution)
        torch.set_num_threads(2)
        with ranks.process_group(1):
            before = resident()
            engine = TrainEngine(Path(scratch) / "base", RECIPE, execution)
            row = replace(loss.blank(tokens, engine.device), weights=torch.full((tokens,), 1 / tokens))
            for _ in range(3):
                engine.step([row], 1e-4)
    measured = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    planned = memory.of(shape, RECIPE, execution, tokens).total - memory.RESERVED
    return {"shape": name, "tokens": tokens, "recompute": recompute, "measured": measured, "planned": planned}


MAKE = """
import sys
from pathlib import Path
from bench.memory_peak import SHAPES
from sft_sweeps.models.init import materialise
materialise(SHAPES[sys.argv[1]], 0, [], Path(sys.argv[2]) / "base")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, tokens, again = given.one
        print(json.dumps(peak(name, int(tokens), again == "True")))
        return
    figures = []
    for case in CASES:
        command = [sys.executable, "-m", "bench.memory_peak", "--one", *map(str, case)]
        out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        figures.append(json.loads(out[out.rindex("{") :]))
        found = figures[-1]
        print(
            f"{found['shape']:>6} {found['tokens']:5} tokens{', recompute' if found['recompute'] else '':<11}: "
            f"measured {found['measured'] / 1e9:5.2f} GB, planned {found['planned'] / 1e9:5.2f} GB, "
            f"planned / measured {found['planned'] / found['measured']:.2f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
