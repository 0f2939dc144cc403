"""What a peer is, and how its side and ours are run: in turn, each in a process of its own, in its own environment."""

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.peers import environments

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
Better = Literal["more", "less", "same"]
Sides = tuple[Sequence[float], Sequence[float]]  # figures of each round: ours, theirs
Found = dict[str, Any]  # what one side of one round says


@dataclass(frozen=True)
class Settings:
    """How much is measured; the tests measure less."""

    rounds: int = 3
    rows: int = 200  # of each source, for the programs that encode slowly
    points: int = 50  # of the sweep that is planned and submitted
    steps: int = 1  # of training, in a round
    samples: int = 1  # of CodeGen for each of HumanEval's tasks
    sharegpt: Path | None = None


@dataclass(frozen=True)
class Row:
    """A figure of ours beside a peer's: medians of the rounds."""

    what: str
    unit: str
    ours: float
    theirs: float
    better: Better  # which figure is the better one; same: they should be equal
    times: tuple[float, ...] = ()  # of each round, how many times as good ours was; below 1 ours lost
    how: str = ""  # in which of its ways the peer ran
    note: str = ""  # how far both did the same
    differences: tuple[Found, ...] = ()  # where verdicts differ


@dataclass(frozen=True)
class Peer:
    """Another program. `compare` gives its rows; `lacks` says what is not at hand for that, "" where all is."""

    name: str  # of its module, and of its environment where it has one
    title: str
    package: str  # whose version is told
    runs: str  # what is measured of it, and of ours
    compare: Callable[[Settings], Iterable[Row]]
    lacks: Callable[[], str] = lambda: ""


def call(peer: str, side: str, **request: Any) -> Found:
    """What the function `side` of a peer's module says, called in a new process: `theirs` in the peer's environment."""
    python = environments.python(peer if side == "theirs" else "")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        file.write_text(json.dumps(request, default=str))
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONWARNINGS": "ignore"}
        command = [python, "-m", "bench.peers.side", peer, side, str(file)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"{peer}, {side}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )
        return dict(json.loads(file.read_text()))


def in_turn(peer: str, rounds: int, **request: Any) -> tuple[list[Found], list[Found]]:
    """Both sides, one after the other, so often: the machine's other loads fall on both."""
    pairs = [(call(peer, "ours", **request), call(peer, "theirs", **request)) for _ in range(rounds)]
    return [ours for ours, _ in pairs], [theirs for _, theirs in pairs]


def row(what: str, unit: str, better: Better, sides: Sides, *, how: str = "", note: str = "") -> Row:
    """A row of measured rounds, ours and theirs."""
    ours, theirs = sides
    times = tuple(a / b if better == "more" else b / a for a, b in zip(ours, theirs, strict=True))
    return Row(what, unit, statistics.median(ours), statistics.median(theirs), better, times, how, note)


def verdicts(what: str, ours: Mapping[str, bool], theirs: Mapping[str, bool], why: Callable[[str], Found]) -> Row:
    """A row of two scorings of the same answers, by the answers' names; `why` tells of one on which they differ."""
    if ours.keys() != theirs.keys():
        raise RuntimeError(f"{what}: not the same answers")
    differing = [name for name in ours if ours[name] != theirs[name]]
    told = tuple({"answer": name, "ours": ours[name], "theirs": theirs[name], **why(name)} for name in differing)
    same = f"{len(ours) - len(differing):,} of {len(ours):,}"
    return Row(what, "right", sum(ours.values()), sum(theirs.values()), "same", note=f"same: {same}", differences=told)
