"""What would make a training step faster on a GPU: each lever alone and all together, against today's step, in one run.

Shapes of LLaMA with random weights on 16-example batches of real lengths (bench/lengths.py), as bench/gpu_speed.py has
them. Every way trains the same steps; then the same steps again from the start, whose losses and gradient norms must be
equal to the last bit (`repeats`), else a stage would not resume exactly. How far its losses are from today's is told
too. Of the fewest GPUs that a stage might have, the share of the fullest is run on this one GPU; what passes between
GPUs cannot be, and is counted in bytes over an assumed bandwidth (plan/scaling.py).

    python -m bench.gpu_levers [--seconds 520] [--shapes 1b 7b] [--levers NAME ...] [--steps 8] [--json FILE]

It ends in time: what it measured until then is printed, a line of JSON each and a table at the end; what there was no
time for is named. Without a GPU it runs a tiny shape in fp32 on the CPU, which shows that the levers work and nothing
about speed on a GPU; levers that need one are named so, and get no number.
"""

import argparse
import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench import lengths, levers_report
from bench.levers import LEVERS

RESERVE = 12.0  # seconds for the table, and for ending what runs
STEPS_AGAIN = 4  # of the second run
FULLEST = (1, 2, 4, 8, 16)  # GPUs
COUNTED_APART = ("unfused_adamw", "cudnn_attention")  # not in `together`: one is on, one excludes FlashAttention-3


@dataclass(frozen=True)
class Item:
    """Something to measure: a way (the levers that are on), again, or the shares of the fullest of several GPUs."""

    shape: str
    levers: tuple[str, ...] = ()
    steps: int = 8
    kind: str = "way"  # way | again | fullest
    recompute: bool = False

    @property
    def name(self) -> str:
        return "together" if len(self.levers) > 1 else (self.levers or ("today",))[0]


def items(shapes: Sequence[str], chosen: Sequence[str], steps: int) -> list[Item]:
    """All there is to measure, what matters most first: all ways once, then the shares, then all ways again."""
    ways = []
    for shape in shapes:
        recompute = shape in ("7b", "tiny_recomputed")
        own = [name for name in chosen if recompute or not LEVERS[name].recomputing]
        possible = [name for name in own if not LEVERS[name].needs()]
        together = tuple(name for name in possible if name not in COUNTED_APART)
        alone = possible if shape != "7b" else [n for n in possible if LEVERS[n].recomputing or n == "plain_engine"]
        each = [(), *((name,) for name in alone), *([together] if len(together) > 1 else [])]
        ways += [Item(shape, levers, steps, recompute=recompute) for levers in each]
    fullest = [Item(shape, (), steps, "fullest", shape == "7b") for shape in shapes]
    again = [Item(one.shape, one.levers, STEPS_AGAIN, "again", one.recompute) for one in ways]
    return [*ways, *fullest, *again]


class Worker:
    """A process that measures one item after the other; one that dies or hangs is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None

    def measure(self, item: Item, seconds: float) -> dict[str, Any]:
        """The figures, or `failed` with why there are none."""
        if self.process is None:
            command = [sys.executable, "-m", "bench.levers_worker", str(self.folder)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        self.process.stdin.write(json.dumps(asdict(item)) + "\n")
        self.process.stdin.flush()
        line = self._line(time.monotonic() + seconds)
        if line is None:
            ended = self.process.poll()
            self.close()
            return {"failed": "no time left" if ended is None else f"its process ended with status {ended}"}
        found: dict[str, Any] = json.loads(line)["figures"]
        return found

    def _line(self, until: float) -> str | None:
        """The worker's next answer; what libraries print besides goes to standard error."""
        assert self.process
        assert self.process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while (left := until - time.monotonic()) > 0:
                if not selector.select(left):
                    return None
                line = self.process.stdout.readline()
                if not line:
                    self.process.wait()
                    return None
                if line.startswith('{"figures"'):
                    return line
                print(line, end="", file=sys.stderr)
        return None

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):  # what was written to one that had ended
                    assert pipe
                    pipe.close()
            self.process = None


def run(todo: Sequence[Item], until: float) -> Iterator[dict[str, Any]]:
    """A result for each item: its figures, why it failed, or that no time was left for it."""
    room = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) and torch.cuda.is_available() else None
    taken: dict[tuple[str, str], float] = {}
    done: set[tuple[str, tuple[str, ...]]] = set()
    with tempfile.TemporaryDirectory(dir=room) as folder, contextlib.closing(Worker(Path(folder))) as worker:
        for item in todo:
            if item.kind == "again" and (item.shape, item.levers) not in done:
                continue
            left = until - time.monotonic() - RESERVE
            known = [seconds for (shape, _), seconds in taken.items() if shape == item.shape]
            if left < max(taken.get((item.shape, item.name), 0.0) / 2, min(known, default=1.0)):
                yield {**asdict(item), "name": item.name, "not_run": "not run: no time left"}
                continue
            started = time.monotonic()
            found = worker.measure(item, left)
            taken[item.shape, item.name] = time.monotonic() - started
            done |= set() if "failed" in found else {(item.shape, item.levers)}
            yield {**asdict(item), "name": item.name, "took": round(taken[item.shape, item.name], 1), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    gpu = torch.cuda.is_available()
    parser.add_argument("--seconds", type=float, default=520.0, help="after which it has ended (at most 540)")
    parser.add_argument("--shapes", nargs="+", default=["1b", "7b"] if gpu else ["tiny", "tiny_recomputed"])
    parser.add_argument("--levers", nargs="+", default=list(LEVERS), choices=LEVERS)
    parser.add_argument("--steps", type=int, default=8, help="that are timed, after those that warm up")
    parser.add_argument("--json", type=Path, help="write all lines there too")
    given = parser.parse_args()
    until = time.monotonic() + min(given.seconds, 540.0)
    absent = {name: why for name in given.levers if (why := LEVERS[name].needs())}
    lines: list[dict[str, Any]] = [levers_report.environment(absent, lengths.ORIGIN)]
    print(json.dumps(lines[0]), flush=True)
    for found in run(items(given.shapes, given.levers, given.steps), until):
        lines.append(found)
        print(json.dumps(found), flush=True)
        if given.json:
            given.json.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print("\n".join(levers_report.table(lines, {name: one.does for name, one in LEVERS.items()}, absent)))


if __name__ == "__main__":
    main()
