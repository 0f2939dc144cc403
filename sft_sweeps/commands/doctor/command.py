"""The command `sft-sweeps doctor`: one topic, some, or all of them."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.commands.doctor import finding, limited
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.commands.doctor.topics import NODE_SECONDS, TOPICS
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.terminal import console

if TYPE_CHECKING:
    from sft_sweeps.config.grid import Point

ALL = "all"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    overrides = "overrides name the launch that data, model, wandb and judge look at: study=table1"
    words = f"{', '.join(TOPICS)} (default: all of them); {overrides}"
    parser.add_argument("words", nargs="*", metavar="TOPIC|OVERRIDE", help=words)
    parser.add_argument("--on-node", action="store_true", help="ask a compute node too, with a job of a minute")
    parser.add_argument("--deep", action="store_true", help="of a store: read every file and compare its checksum")
    where = "of conf/local/default.yaml, or else"
    parser.add_argument("--partition", help=f"as cluster.partition (default: that {where} the cluster's)")
    parser.add_argument("--account", help=f"as cluster.account (default: that {where} yours)")
    add_output_dir(parser)
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    topics = _topics([word for word in options.words if "=" not in word])
    overrides = [word for word in options.words if "=" in word]
    status: int = 0
    points: list[Point] = []
    if any(TOPICS[topic].composed for topic in topics):
        status, points = _composed([*overrides, *site.store_option(options.output_dir)])
    if status:
        return status
    request = _request(options, overrides, points, named=len(topics) < len(TOPICS))
    asked = {topic: _findings(topic, request) for topic in topics}
    if options.json:
        found = [(topic, one) for topic, findings in asked.items() for one in findings]
        print_json(finding.SCHEMA, finding.to_json(found, topics[0] if len(topics) == 1 else ALL))
    else:
        found = finding.show(
            asked, console(), lambda topic: site.command(options.output_dir, "doctor", topic, *overrides)
        )
    return 0 if finding.healthy(one for _, one in found) else 1


def _topics(words: Sequence[str]) -> list[str]:
    """Those that were typed, in their order, or all."""
    for word in words:
        if word not in TOPICS:
            valid = ", ".join(TOPICS)
            raise RequestError(f"doctor has no topic {word}; valid: {valid}{nearest(word, TOPICS)}")
    return [topic for topic in TOPICS if topic in words or not words]


def _composed(arguments: Sequence[str]) -> "tuple[int, list[Point]]":
    """The points of a launch; not 0 and none where it is refused, which is said already."""
    from sft_sweeps.config import command_line

    points: list[Point] = []

    def keep(composed: "list[Point]") -> int:
        points.extend(composed)
        return 0

    return command_line.main(keep, arguments, "sft-sweeps doctor"), points


def _request(
    options: argparse.Namespace, overrides: Sequence[str], points: "Sequence[Point]", named: bool
) -> DoctorRequest:
    given = {key: value for key in ("partition", "account") if (value := getattr(options, key)) is not None}
    return DoctorRequest(
        Path(options.output_dir),
        replace(site.cluster(), **given),
        tuple(points),
        tuple(overrides),
        named,
        options.on_node,
        options.deep,
        store_named=bool(site.store_option(options.output_dir)),
    )


def _findings(name: str, request: DoctorRequest) -> Iterator[Finding]:
    """Of one topic, within its time. What reads a whole store, or waits for a node, has longer."""
    topic = TOPICS[name]
    seconds: float | None = topic.seconds + (NODE_SECONDS if request.on_node and name == "slurm" else 0.0)
    if request.deep and name == "store":
        seconds = None
    return limited.findings(name, partial(topic.ask, request), seconds)


COMMAND = Command(
    "doctor",
    "what stands in the way here: GPUs, data, models, store, W&B, judge, Slurm, sandbox",
    _run,
    _add_arguments,
    about=(
        "Each topic says what is well, what to know and what stands in the way, with what to type. One that takes too "
        "long is told and left, the others go on. Exit status 1 where a problem was found. docs/monitoring.md has what "
        "each looks at."
    ),
    examples=(
        "sft-sweeps doctor  # everything",
        "sft-sweeps doctor data model study=table1  # is all of it here that this launch needs?",
        "sft-sweeps doctor slurm --on-node",
        "sft-sweeps doctor store --deep  # read every file and compare its checksum",
    ),
    topic="start",
)
