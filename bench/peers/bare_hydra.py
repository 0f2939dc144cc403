"""Hydra alone: the same multirun by its own BasicSweeper and BasicLauncher, with a task that does nothing."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.peers.peer import Found, Peer, Row, Settings, in_turn, row
from bench.plan_speed import cpu_seconds

FRACTIONS = ("1", "1/2", "1/4", "1/8", "1/16")


def grid(points: int) -> list[str]:
    """A grid of the paper's kind with at least ten points: both sizes, five fractions, so many values of k."""
    ks = ",".join(f"1/{n}" for n in range(1, max(1, points // 10) + 1))
    return ["-m", "model=llama7b,llama13b", "strategy=dmt", f"data.fraction={','.join(FRACTIONS)}", f"strategy.k={ks}"]


def ours(points: int) -> Found:
    """Composed, checked as a whole, identified, counted, printed."""
    with tempfile.TemporaryDirectory() as folder:
        line = [*grid(points), "action=plan", "plan.measure=false", f"output_dir={folder}"]
        return {"cpu": cpu_seconds(["launch.py", *line])}


def theirs(points: int) -> Found:
    """Composed twice, once to see whether it can be and once for each job, which writes down what it was given."""
    with tempfile.TemporaryDirectory() as folder:
        basic = ["hydra/sweeper=basic", "hydra/launcher=basic", f"hydra.sweep.dir={folder}"]
        seconds = cpu_seconds(["-m", "bench.peers.noop", *grid(points), *basic])
        return {"cpu": seconds, "jobs": sum(1 for _ in Path(folder).glob("*/.hydra/config.yaml"))}


def compare(settings: Settings) -> Iterator[Row]:
    mine, others = in_turn("bare_hydra", settings.rounds, points=settings.points)
    if {other["jobs"] for other in others} != {settings.points}:
        raise RuntimeError(f"Hydra ran {others} jobs, not {settings.points}")
    note = "ours also checks, counts and identifies"
    speeds = [one["cpu"] for one in mine], [one["cpu"] for one in others]
    yield row(f"plan {settings.points} points", "CPU s", "less", speeds, note=note)


PEER = Peer(
    name="bare_hydra",
    title="Hydra",
    package="hydra-core",
    runs="the same `-m` line and conf/ by its BasicSweeper with a task that does nothing; ours is `action=plan`",
    compare=compare,
)
