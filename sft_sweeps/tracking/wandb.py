"""Weights & Biases shows what metrics.jsonl holds: a process of its own reads the file and logs each line.

Training writes its file and knows nothing of W&B. It starts this process, closes its input at the end, and waits a
bounded time: no exception, delay or death of W&B reaches it. The run's id is the stage's, so that a requeued job goes
on in the same run; the step that charts are drawn over is the stage's own.

    python -m sft_sweeps.tracking.wandb        reads what to do from its input: one line of JSON, and its end

A key stays in the environment: it is in no argument, file or message of ours.
"""

import json
import logging
import netrc
import os
import re
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
from sft_sweeps.files.json_files import parse_line
from sft_sweeps.tracking import problems as noted
from sft_sweeps.tracking.base import Attempt, Ending, Tracker
from sft_sweeps.tracking.metrics import METRICS

log = logging.getLogger(__name__)

NAME = "wandb"
FOLDER = "wandb"
LOG = "logs/wandb.log"
LONGEST_END_SECONDS = 900.0  # that a mirror goes on alone
POLL_SECONDS = 0.5
ATTEMPTS = 3  # of a mirror whose W&B died
LIBRARY_SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "save_code": False,
    "init_timeout": 60,
}
# Whatever W&B writes lies in the stage's folder: home directories have quotas.
FOLDERS = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR", "TMPDIR")


class WandbMirror:
    """A process that mirrors one attempt at a stage; one that cannot be started is reported, and that is all."""

    def __init__(self, attempt: Attempt) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        settings = {**asdict(attempt.tracking), "folder": str(attempt.folder.absolute())}
        self.folder = attempt.folder
        settings |= {"id": attempt.identity, "label": attempt.label, "config": attempt.config}
        try:
            self._start(attempt.folder)
            self._send(json.dumps(settings) + "\n")
        except OSError as error:
            log.warning("no mirror at Weights & Biases: %s", error)
            noted.note(attempt.folder, NAME, str(error))

    def _start(self, folder: Path) -> None:
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

    def close(self, seconds: float, ending: Ending) -> None:
        """No more lines will come; wait until all are logged, but no longer than `seconds`."""
        if self._process is None:
            return
        with suppress(OSError):
            self._send(json.dumps(asdict(ending)) + "\n")
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log.warning("the mirror at Weights & Biases is not done after %.0f s and is killed", seconds)
            noted.note(self.folder, NAME, f"it was not done {seconds:.0f} s after the last step and was ended")
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _send(self, text: str) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.write(text.encode())
            self._process.stdin.flush()


def _environment(folder: Path) -> dict[str, str]:
    """Without the ranks' variables, which would make W&B look for others."""
    ours = folder.absolute() / FOLDER
    (ours / "tmp").mkdir(parents=True, exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if key not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    root = str(PACKAGE.parent)
    path = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH", ""))))
    return {**kept, **dict.fromkeys(FOLDERS, str(ours)), "TMPDIR": str(ours / "tmp"), "PYTHONPATH": path}


def has_key() -> bool:
    """Whether W&B would find a key of this user without asking."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    with suppress(OSError, netrc.NetrcParseError):
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    return False


def main() -> int:
    """Mirror until the input ends and every line is logged; whatever goes wrong stands in this process's log."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # Slurm signals every process of a job; the end of the input counts
    with open(0, "rb", buffering=0, closefd=False) as source:  # what follows the line is for an attempt to read
        settings = json.loads(source.readline())
    for attempt in range(ATTEMPTS):
        print(f"attempt {attempt + 1} of {ATTEMPTS}", flush=True)
        child = os.fork()  # a process in which W&B's service died can start no other
        if child == 0:
            os._exit(_attempt(settings))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return 0
        if not noted.problem_of(Path(settings["folder"])):
            noted.note(Path(settings["folder"]), NAME, f"its process ended with status {status}; see {LOG}")
        settings["mode"] = "offline"  # a server that did not answer once is not waited for again
    return 1


def _attempt(settings: Mapping[str, Any]) -> int:
    ended = threading.Event()
    threading.Thread(target=_listen, args=(ended,), daemon=True).start()
    try:
        _mirror(settings, ended)
    except Exception as error:
        text = f"{type(error).__name__}: {error}".replace(os.environ.get("WANDB_API_KEY") or "\0", "***")
        print(text, flush=True)
        noted.note(Path(settings["folder"]), NAME, text)
        return 1
    return 0


def _listen(ended: threading.Event) -> None:
    """Until the input ends, which it also does when training dies."""
    while os.read(0, 1):
        pass
    ended.set()
    time.sleep(LONGEST_END_SECONDS)
    os._exit(1)  # a server that takes nothing must not keep a process forever


def _mirror(settings: Mapping[str, Any], ended: threading.Event) -> None:
    import wandb

    mode = settings["mode"]
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
    run = wandb.init(
        project=settings["project"] or None,
        entity=settings["entity"] or None,
        id=settings["id"],
        name=settings["label"][:128],
        group=settings["group"] or None,
        job_type="train",
        tags=[tag[:64] for tag in settings["tags"]],
        config={"axes": dict(settings["axes"]), **settings["config"]},
        dir=settings["folder"],
        mode=mode,
        resume="allow",
        settings=wandb.Settings(**LIBRARY_SETTINGS),
    )
    run.define_metric("train/step")
    run.define_metric("*", step_metric="train/step")
    for line in lines(Path(settings["folder"]) / METRICS, ended):
        run.log(_flat(line))
    run.finish()
    print(f"{mode}: everything is mirrored", flush=True)


def lines(path: Path, ended: threading.Event) -> Iterator[dict[str, Any]]:
    """Each step's line once, as it comes, until `ended` is set. A file that is cut is read from its start again."""
    seen, file, inode, begun = 0, None, 0, ""
    while True:
        last_time = ended.is_set()
        with suppress(OSError):
            if path.stat().st_ino != inode:
                if file:
                    file.close()
                file, begun = path.open(encoding="utf-8"), ""
                inode = os.fstat(file.fileno()).st_ino
        *whole, begun = (begun + (file.read() if file else "")).split("\n")
        for text in whole:
            with suppress(ValueError, TypeError, KeyError):
                line = parse_line(text)
                if int(line["step"]) > seen:
                    seen = int(line["step"])
                    yield line
        if last_time:
            if file:
                file.close()
            return
        ended.wait(POLL_SECONDS)


def _flat(line: Mapping[str, Any]) -> dict[str, float]:
    """train/loss, train/examples_by_source/gsm8k ...: numbers only."""
    numbers: dict[str, float] = {}
    for key, value in line.items():
        inner = value if isinstance(value, dict) else {"": value}
        numbers |= {f"train/{key}{'/' if name else ''}{name}": n for name, n in inner.items() if n is not None}
    return numbers


def problems(tracking: Tracking) -> Iterator[str]:
    """What W&B would refuse."""
    if re.search(r"[/\\#?%:]", tracking.project):
        yield f"tracking.project={tracking.project} is no project of W&B's: leave out / \\ # ? % and :"


TRACKER = Tracker(NAME, WandbMirror, problems)


if __name__ == "__main__":
    sys.exit(main())
