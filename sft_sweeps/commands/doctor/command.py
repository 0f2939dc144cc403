"""The command `sft-sweeps doctor`, its topics `slurm`, `sandbox` and `store`."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, add_output_dir
from sft_sweeps.commands.doctor import finding
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.config import site
from sft_sweeps.terminal import console


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", choices=["slurm", "sandbox", "store"], default="slurm")
    parser.add_argument("--on-node", action="store_true", help="ask a compute node too, with a job of a minute")
    parser.add_argument("--deep", action="store_true", help="of a store: read every file and compare its checksum")
    where = "of conf/local/default.yaml, or else"
    parser.add_argument("--partition", help=f"as cluster.partition (default: that {where} the cluster's)")
    parser.add_argument("--account", help=f"as cluster.account (default: that {where} yours)")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    if options.json:
        findings = list(_findings(options))
        print(json.dumps(finding.to_json(findings, options.topic), indent=1))
    else:
        findings = finding.show(_findings(options), console())
    return 0 if finding.healthy(findings) else 1


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    if options.topic == "sandbox":
        from sft_sweeps.commands.doctor import sandbox

        return sandbox.findings()
    if options.topic == "store":
        from sft_sweeps.commands.doctor import store

        return store.findings(Path(options.output_dir), options.deep)
    from sft_sweeps.commands.doctor import slurm

    cluster = site.cluster()
    given = {key: value for key in ("partition", "account") if (value := getattr(options, key)) is not None}
    request = slurm.SlurmRequest(Path(options.output_dir), replace(cluster, **given), options.on_node)
    return slurm.findings(request)


COMMAND = Command(
    "doctor",
    "what stands in the way of a sweep on Slurm, what the sandbox holds here, what is damaged in a store",
    _run,
    _add_arguments,
)
