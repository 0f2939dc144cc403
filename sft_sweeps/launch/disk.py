"""Room on the disk: how much a store may still take, and how much a sweep needs.

What a file system has free is not what a user may write: quotas of the user and of the store's group are asked for with
`lfs quota` (Lustre) and `quota` (the others, NFS too), where these commands are there and answer. The smallest counts.
Sizes are in GB of 1e9 bytes.
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.files.folders import nearest_existing
from sft_sweeps.plan import cost
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Stage

ANSWER_SECONDS = 5.0
BLOCK = 1024  # bytes; both commands count in kB of so many
OWNER = re.compile(r"^Disk quotas for (user|usr|group|grp) (\S+) \((?:uid|gid) (\d+)\)")
# Of blocks and then of files: used, soft limit, hard limit, grace. Over the limit has a *, an inexact value brackets.
USAGE = re.compile(r"(?:^|\s)\[?(\d+)\]?\*?\s+\[?(\d+)\]?\s+\[?(\d+)\]?\s+\S+\s+\[?\d+\]?\*?\s+\d+\s+\d+\s+\S+\s*$")


@dataclass(frozen=True)
class DiskRoom:
    """How much may still be written, and what sets the limit."""

    gb: float
    limit: str


@dataclass(frozen=True)
class DiskPolicy:
    """How a launch will use the disk: stages trained side by side, the key that limits them, and what is freed."""

    at_once: int = 1
    key: str = "cluster.jobs"
    retention: str = "all"


@dataclass(frozen=True)
class DiskNeed:
    """What the stages of a sweep will have on the disk at its fullest moment, beyond what is there already."""

    models: int
    models_gb: float
    at_once: int
    states: int  # of each stage that is being trained
    states_gb: float

    @property
    def gb(self) -> float:
        return self.models_gb + self.states_gb


def room(root: Path) -> DiskRoom:
    """How much a store may still take: what its file system has free, or less where a quota leaves less."""
    folder = nearest_existing(root)
    free = DiskRoom(shutil.disk_usage(folder).free / 1e9, "its file system")
    return min((free, *_quotas(folder)), key=lambda room: room.gb)


def _quotas(folder: Path) -> Iterator[DiskRoom]:
    """What the quotas leave to this user, and to the group that new files in the folder will belong to."""
    status = folder.stat()
    group = status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()
    ids = {"u": os.getuid(), "g": group}
    mount = str(_mount(folder))
    for option, number in ids.items():
        yield from _parse_quotas(_output_of("lfs", "quota", f"-{option}", str(number), mount), ids)
    # -p: a column for the grace time, whatever it holds; -w: one line for each file system.
    yield from _parse_quotas(_output_of("quota", "-w", "-p", "-u", "-g", "-f", mount), ids)


def _mount(folder: Path) -> Path:
    """The root of the file system that holds a folder."""
    return next(one for one in (folder.resolve(), *folder.resolve().parents) if one.is_mount())


def _output_of(*command: str) -> str:
    """What a command prints, whatever its status (which says whether a quota is exceeded); "" where it is absent."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _parse_quotas(text: str, ids: dict[str, int]) -> Iterator[DiskRoom]:
    """What is left under each limit of the user (`u`) and the group (`g`) of these ids, in a quota command's output."""
    owner = ""  # whose limits the lines list: empty for others' than these ids
    for line in _whole_lines(text):
        if head := OWNER.match(line):
            kind = head[1][0]
            owner = f"the quota of {'user' if kind == 'u' else 'group'} {head[2]}" if ids[kind] == int(head[3]) else ""
        elif owner and (usage := USAGE.search(line)):
            used, *limits = (int(number) * BLOCK / 1e9 for number in usage.groups())
            # Above the soft limit writing fails some days later, and a sweep takes days.
            if set_limits := [limit for limit in limits if limit]:
                yield DiskRoom(min(set_limits) - used, owner)


def _whole_lines(text: str) -> Iterator[str]:
    """The lines; one that `lfs` broke after a long file system name is joined again."""
    name = ""
    for line in text.splitlines():
        if line.strip().startswith("/") and len(line.split()) == 1:
            name = line
        else:
            yield f"{name} {line}" if name else line
            name = ""


def needed(
    stages: Sequence[Stage],
    final: Collection[str],
    policy: DiskPolicy,
    keep: int,
    *,
    merged: bool = False,
    merges: Sequence[Merge] = (),
) -> DiskNeed:
    """What training the stages and averaging them (`merges`) will need.

    All the children of a stage can run at the same time, but never a stage and its child: so at most as many as there
    are stages without children, and at most `policy.at_once`. Each has `keep` resume states and one that is being
    written. Where models are freed, a chain keeps one at a time, and those in which runs end (`final`, ids). Of
    adapters the `merged` models are kept too; else one is there for as long as it is asked. An average is there beside
    all that it is made of.
    """
    parents = {stage.parent.id for stage in stages}
    tips = [stage for stage in stages if stage.id not in parents]
    kept = [s for s in stages if policy.retention == "all" or s.id not in parents or s.id in final]
    running = sorted((cost.resume_gb(stage.model.shape, stage.recipe.adapter) for stage in tips), reverse=True)[
        : policy.at_once
    ]
    models = sum(cost.model_gb(stage, merged=merged) for stage in kept)
    asked = sorted((cost.model_gb(one, merged=True) for one in tips if one.recipe.adapter and not merged), reverse=True)
    models += sum(asked[: policy.at_once]) + sum(map(cost.model_gb, merges))
    return DiskNeed(len(kept) + len(merges), models, len(running), keep + 1, (keep + 1) * sum(running))
