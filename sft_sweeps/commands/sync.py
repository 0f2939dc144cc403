"""`sft-sweeps sync`: a sweep's runs at its tracker, from what the store holds: what is there already is not sent again.

As JSON (`--json`, `"schema": 1`): `sweep`, `tracker`, `project`, `runs` (`id`, `label`, `job_type`, `how`: `shown`,
`there` before, or `failed`, and `why`).
"""

import argparse
from typing import Any

from sft_sweeps.commands.command import Command, add_json, add_output_dir, add_sweep, print_json
from sft_sweeps.errors import RunError
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import console, say

SCHEMA = 1


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    add_output_dir(parser)
    add_json(parser)
    parser.add_argument("--tracker", metavar="NAME", help="wandb, ... (default: as launched)")
    parser.add_argument("--project", help="the tracker's project (default: as launched, else the study)")
    parser.add_argument("--entity", help="a user or team of W&B's (default: as launched, else the key's own)")


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.report import tracked
    from sft_sweeps.report.page import evidence
    from sft_sweeps.tracking import trackers

    sweep = find(Store(options.output_dir), options.sweep)
    tracking = tracked.named(sweep, options.tracker or "", options.project or "", options.entity or "")
    found = evidence.read(sweep, options.output_dir)
    runs = tracked.Shown(found, sweep.folder, tracking).all()
    outcomes = list(trackers.publish(runs))
    failed = any(outcome.how == "failed" for outcome in outcomes)
    if options.json:
        by_id = {outcome.id: outcome for outcome in outcomes}
        told = [_told(run.identity, run.label, run.job_type, by_id) for run in runs]
        named: dict[str, Any] = {"sweep": sweep.name, "tracker": tracking.name, "project": tracking.project}
        print_json(SCHEMA, named | {"runs": told})
    else:
        say(console(), f"sweep {sweep.name}, project {tracking.project}")
        for line in trackers.summary(tracking.name, outcomes):
            say(console(), line)
    return RunError.exit_status if failed else 0


def _told(identity: str, label: str, job_type: str, outcomes: Any) -> dict[str, str]:
    outcome = outcomes[identity]
    return {"id": identity, "label": label, "job_type": job_type, "how": outcome.how, "why": outcome.why}


ABOUT = """\
What is shown is made from the store: steps from each stage's metrics.jsonl, scores, intervals and sample answers from
their records. So it does not matter whether a sweep ran without a network, before a server that was ill, or untracked.
A run that is complete at the server is left alone; of one that is not, the rest is sent. It can be repeated at will."""
COMMAND = Command(
    "sync",
    "upload a sweep's runs to its tracker: what is missing there, each once",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps sync", "sft-sweeps sync SWEEP --project scaling --entity TEAM"),
    topic="results",
)
