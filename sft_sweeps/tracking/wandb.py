"""Weights & Biases shows what metrics.jsonl holds, by a process of its own (process.py).

The run's id is the stage's, so that a requeued job goes on in the same run; the step that charts are drawn over is the
stage's own. A key stays in the environment: it is in no argument, file or message of ours.
"""

import netrc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlparse

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import layout, process
from sft_sweeps.tracking.base import Attempt, Mirror, Tracker
from sft_sweeps.tracking.metrics import METRICS
from sft_sweeps.tracking.process import Ended, ProcessMirror

NAME = "wandb"
FOLDER = "wandb"
LIBRARY_SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "save_code": False,
    "init_timeout": 60,
}
# Whatever W&B writes lies in the stage's folder: home directories have quotas.
FOLDERS = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR")


def open_mirror(attempt: Attempt) -> Mirror:
    """A process that mirrors the attempt."""
    ours = attempt.folder.absolute() / FOLDER
    (ours / "tmp").mkdir(parents=True, exist_ok=True)
    environment = {**dict.fromkeys(FOLDERS, str(ours)), "TMPDIR": str(ours / "tmp")}
    return ProcessMirror(attempt, "sft_sweeps.tracking.wandb", environment)


def server() -> str:
    """The address of W&B's server."""
    return (os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").rstrip("/")


def has_key() -> bool:
    """Whether W&B would find a key of this user without asking."""
    return bool(find_key()[0])


def find_key() -> tuple[str, str]:
    """The key that W&B would find without asking, and where; both empty where there is none."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key, "WANDB_API_KEY"
    with suppress(OSError, netrc.NetrcParseError):
        if found := netrc.netrc(path := os.environ.get("NETRC")).authenticators(urlparse(server()).hostname or ""):
            return found[2], path or "~/.netrc"
    return "", ""


def main() -> int:
    """A server that did not answer once is not waited for again."""
    return process.run(_mirror, again=_offline, secret=os.environ.get("WANDB_API_KEY", ""))


def _offline(attempt: Attempt) -> Attempt:
    return replace(attempt, tracking=replace(attempt.tracking, mode="offline"))


def _mirror(attempt: Attempt, ended: Ended) -> None:
    import wandb

    tracking, mode = attempt.tracking, cast(Any, attempt.tracking.mode)
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    run = wandb.init(
        project=tracking.project or None,
        entity=tracking.entity or None,
        id=attempt.identity,
        name=layout.cut(attempt.label),
        group=layout.cut(tracking.group) or None,
        job_type=attempt.job_type,
        tags=layout.tags("", tracking.tags),
        config={layout.STUDY: dict(tracking.axes), **attempt.config},
        dir=str(attempt.folder),
        mode=mode,
        resume="allow",
        settings=wandb.Settings(**LIBRARY_SETTINGS),
    )
    run.define_metric(layout.STEP)
    run.define_metric("*", step_metric=layout.STEP)
    for row in process.history(attempt.folder / METRICS, ended):
        run.log(row)
    run.finish()
    print(f"{mode}: everything is mirrored", flush=True)


def problems(tracking: Tracking) -> Iterator[str]:
    """What W&B would refuse."""
    if re.search(r"[/\\#?%:]", tracking.project):
        yield f"tracking.project={tracking.project} is no project of W&B's: leave out / \\ # ? % and :"


TRACKER = Tracker(NAME, open_mirror, problems)


if __name__ == "__main__":
    sys.exit(main())
