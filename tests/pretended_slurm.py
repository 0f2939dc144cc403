"""`squeue`, `sacct` and `scancel` as small programs at the command line, which speak as the real ones do.

The real squeue's answer has one record for each job and element, in the format that it is asked for; sacct without
accounts says so and fails; scancel passes over what has ended.
"""

import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sft_sweeps.jobs.submissions import SUBMISSIONS
from sft_sweeps.store.claims import user
from sft_sweeps.store.sweeps import Sweep

PROGRAM = """#!{python} -SE
import json, pathlib, sys
folder, name, given = pathlib.Path({folder!r}), pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with (folder / "calls").open("a") as file:
    file.write(json.dumps([name, *given]) + chr(10))
queue = json.loads((folder / "queue.json").read_text())
if name == "squeue":
    if not (folder / "controller").exists():
        sys.exit("slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    wanted = given[given.index("--format") + 1]
    for row in queue:
        if row["%u"] == given[given.index("--user") + 1]:
            text = wanted
            for code, value in row.items():
                text = text.replace(code, value)
            print(text)
elif name == "sacct":
    if not (folder / "accounts").exists():
        sys.exit("Slurm accounting storage is disabled")
    print((folder / "accounts").read_text(), end="")
elif name == "scancel":
    for row in queue:
        if row["%i"] in given and row["%T"] in ("PENDING", "RUNNING"):
            row["%T"] = "CANCELLED"
    (folder / "queue.json").write_text(json.dumps(queue))
"""


@dataclass(frozen=True)
class Pretended:
    """A queue that a test writes, and what was asked of it."""

    folder: Path

    def write(self, *rows: dict[str, str]) -> None:
        """The whole queue."""
        (self.folder / "queue.json").write_text(json.dumps(rows))

    def calls(self, name: str) -> list[list[str]]:
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        return [call[1:] for call in map(json.loads, lines) if call[0] == name]

    def states(self) -> dict[str, str]:
        return {row["%i"]: row["%T"] for row in json.loads((self.folder / "queue.json").read_text())}


def start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    """Put the programs before the real ones; the queue is empty, and there are no accounts."""
    folder.mkdir()
    for name in ("squeue", "sacct", "scancel"):
        program = folder / name
        program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "controller").touch()
    made = Pretended(folder)
    made.write()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return made


def submit(sweep: Sweep, call: str, numbers: dict[str, str], dependency: str = "") -> None:
    """The launcher's line for one sbatch call."""
    line = {"call": call, "time": "", "jobs": numbers, "dependency": dependency, "gpus": 8}
    with (sweep.folder / SUBMISSIONS).open("a") as file:
        file.write(json.dumps(line) + "\n")


def row(number: str, name: str, state: str = "PENDING", reason: str = "None", owner: str = "") -> dict[str, str]:
    """One line of squeue, by its format's codes."""
    nodes = "n7" if state == "RUNNING" else ""
    return {
        "%i": number,
        "%u": owner or user(),
        "%T": state,
        "%r": reason,
        "%N": nodes,
        "%P": "main",
        "%L": "1:00:00",
        "%j": name,
    }
