"""Weights & Biases shows what metrics.jsonl holds: a process of its own reads the file and logs each line.

Training writes its file and knows nothing of the mirror. It starts it, tells it at the end that nothing more will come,
and waits a bounded time: no exception, delay or death of W&B reaches it. The run's id is the stage's, so that a
requeued job goes on in the same run; the step that charts are drawn over is the stage's own.

    python -m sft_sweeps.tracking.wandb        reads what to do from its input: one line of JSON, and its end

A key stays in the environment: it is in no argument, file or message of ours.
"""

import json
import logging
import netrc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from sft_sweeps import PACKAGE
from sft_sweeps.execution import Tracking
from sft_sweeps.tracking.metrics import METRICS

log = logging.getLogger(__name__)

FOLDER = "wandb"
LOG = "logs/wandb.log"
FINISH_SECONDS = 30.0  # that a finished stage waits for its mirror
INTERRUPTED_SECONDS = 5.0  # that one which was stopped waits: the next start mirrors everything again
LONGEST_END_SECONDS = 900.0  # that a mirror goes on alone
POLL_SECONDS = 0.5
ATTEMPTS = 3  # of a mirror whose W&B died
SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "save_code": False,
    "init_timeout": 60,
}
# Whatever W&B writes lies in the stage's folder: home directories have quotas.
PLACES = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR", "TMPDIR")


class Mirror:
    """The mirror of one attempt at a stage; one that cannot be started is reported, and that is all."""

    def __init__(self, folder: Path, tracking: Tracking, identity: str, label: str, config: Mapping[str, Any]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if tracking.name != "wandb":
            return
        given = {**asdict(tracking), "folder": str(folder.absolute()), "id": identity, "label": label}
        try:
            (folder / LOG).parent.mkdir(exist_ok=True)
            with (folder / LOG).open("ab") as out:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "sft_sweeps.tracking.wandb"],
                    stdin=subprocess.PIPE,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env=_environment(folder),
                )
            self._tell(json.dumps({**given, "config": config}) + "\n")
        except OSError as error:
            log.warning("no mirror at Weights & Biases: %s", error)

    def close(self, seconds: float = FINISH_SECONDS) -> None:
        """Nothing more will come; wait for the mirror, but no longer than that."""
        if self._process is None:
            return
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("the mirror at Weights & Biases is not done after %.0f s and is left behind", seconds)
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _tell(self, text: str) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()


def _environment(folder: Path) -> dict[str, str]:
    """Without the ranks' variables, which would make W&B look for others."""
    place = folder.absolute() / FOLDER
    (place / "tmp").mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    root = str(PACKAGE.parent)
    path = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH", ""))))
    return {**kept, **dict.fromkeys(PLACES, str(place)), "TMPDIR": str(place / "tmp"), "PYTHONPATH": path}


def has_key() -> bool:
    """Whether W&B would find a key of this user without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False


def main() -> int:
    """Mirror until the input ends and every line is logged; whatever goes wrong is told in this process's log."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Slurm signals every process of a job; the end of the input counts
    with open(0, "rb", buffering=0, closefd=False) as source:  # what follows the line is for an attempt to read
        given = json.loads(source.readline())
    for attempt in range(ATTEMPTS):
        print(f"attempt {attempt + 1} of {ATTEMPTS}", flush=True)
        child = os.fork()  # a process in which W&B's service died can start no other
        if child == 0:
            os._exit(_attempt(given))
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            return 0
        given["mode"] = "offline"  # what does not answer once is not waited for again
    return 1


def _attempt(given: Mapping[str, Any]) -> int:
    ended = threading.Event()
    threading.Thread(target=_listen, args=(ended,), daemon=True).start()
    try:
        _mirror(given, ended)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".replace(os.environ.get("WANDB_API_KEY") or "\0", "***")
        print(text, flush=True)
        return 1
    return 0


def _listen(ended: threading.Event) -> None:
    """Until the input ends, which it also does when training dies."""
    while os.read(0, 1):
        pass
    ended.set()
    time.sleep(LONGEST_END_SECONDS)
    os._exit(1)  # a server that takes nothing must not keep a process for ever


def _mirror(given: Mapping[str, Any], ended: threading.Event) -> None:
    import wandb

    mode = given["mode"]
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    run = wandb.init(
        project=given["project"] or None,
        entity=given["entity"] or None,
        id=given["id"],
        name=given["label"][:128],
        group=given["group"] or None,
        job_type="train",
        tags=[tag[:64] for tag in given["tags"]],
        config={"axes": dict(given["axes"]), **given["config"]},
        dir=given["folder"],
        mode=mode,
        resume="allow",
        settings=wandb.Settings(**SETTINGS),
    )
    run.define_metric("train/step")
    run.define_metric("*", step_metric="train/step")
    for line in lines(Path(given["folder"]) / METRICS, ended):
        run.log(_flat(line))
    run.finish()
    print(f"{mode}: everything is mirrored", flush=True)


def lines(path: Path, ended: threading.Event) -> Iterator[dict[str, Any]]:
    """Each step's line once, as it comes, until nothing more will come. A file that is cut is read from its start."""
    seen, file, inode, held = 0, None, 0, ""
    while True:
        over = ended.is_set()
        with suppress(OSError):
            if path.stat().st_ino != inode:
                file, held = path.open(encoding="utf-8"), ""
                inode = os.fstat(file.fileno()).st_ino
        *whole, held = (held + (file.read() if file else "")).split("\n")
        for text in whole:
            with suppress(ValueError, TypeError, KeyError):
                line = json.loads(text)
                if int(line["step"]) > seen:
                    seen = int(line["step"])
                    yield line
        if over:
            return
        ended.wait(POLL_SECONDS)


def _flat(line: Mapping[str, Any]) -> dict[str, float]:
    """train/loss, train/examples_by_source/gsm8k ...: numbers only."""
    found: dict[str, float] = {}
    for key, value in line.items():
        inner = value if isinstance(value, dict) else {"": value}
        found |= {f"train/{key}{'/' if name else ''}{name}": n for name, n in inner.items() if n is not None}
    return found


if __name__ == "__main__":
    sys.exit(main())
