"""Files that wandb wrote without a server, read back by wandb itself."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def inspect(folder: Path, pattern: str = "*") -> list[dict[str, Any]]:
    """Every record of every run of a folder, in order."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json"]
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob(f"wandb/offline-run-{pattern}/*.wandb")):
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=120, check=True)
        found += [json.loads(text) for text in done.stdout.splitlines() if text.strip()]
    return found


def steps_of(records: list[dict[str, Any]]) -> list[int]:
    """The steps as they stand there: one that is there twice is there twice."""
    items = [record["history"]["item"] for record in records if record["type"] == "history"]
    return [item["train/step"] for item in items if "train/step" in item]


def services(folder: Path) -> list[int]:
    """Processes of W&B's service that write below a folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_one = b"wandb-core" in (place / "cmdline").read_bytes()
            if is_one and str(folder).encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
    return found
