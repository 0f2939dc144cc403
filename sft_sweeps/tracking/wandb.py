"""Weights & Biases shows what metrics.jsonl and the store hold, by a process of its own (process.py).

A run's id is made of identities, so that a requeued job goes on in the same run, and whatever is shown twice is there
once: a line that the server has is not sent again, and of files that were written without a server only those of the
newest attempt stay, which hold everything. The step that charts are drawn over is the stage's own, and W&B's too. A key
stays in the environment: it is in no argument, file or message of ours.
"""

import json
import netrc
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Tracking
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.files.lock import locked
from sft_sweeps.tracking import layout, process, showing
from sft_sweeps.tracking import problems as noted
from sft_sweeps.tracking.base import Artifact, Attempt, Mirror, Outcome, Tracker
from sft_sweeps.tracking.process import ProcessMirror
from sft_sweeps.tracking.showing import Ended, Way

NAME = "wandb"
MODULE = "sft_sweeps.tracking.wandb"
FOLDER = "wandb"
UPLOADED = "uploaded.json"  # in FOLDER: by a run's id, what of it is at which server
LINEAGE = "lineage"  # the block of the config with the names of artifacts
CONTENT = "content"  # in a run's summary, written last: what it is to show
CONTENT_LENGTH = 16
PUBLISH_SECONDS = 90.0  # for each of several finished runs
CHECK_SECONDS = 15
ROOM = 1 << 16  # bytes; W&B writes its files by half as many
NO_KEY = "no key of Weights & Biases is found; type: wandb login, or set WANDB_API_KEY"
IDS = 3  # of a run: a server takes none again that somebody deleted there
DELETED = re.compile("previously created and deleted")
LIBRARY_SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_git": True,
    "save_code": False,
}
INIT_TIMEOUT = "WANDB_INIT_TIMEOUT"  # W&B's own variable
INIT_SECONDS = 25
# Whatever W&B writes lies in the stage's folder: home directories have quotas.
FOLDERS = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR", "TMPDIR")


def open_mirror(attempt: Attempt) -> Mirror:
    """A process that mirrors the attempt."""
    return ProcessMirror(attempt, MODULE, {})


def publish(attempts: Sequence[Attempt]) -> Iterator[Outcome]:
    """Show finished runs; what the server has is not sent again, and it is not even asked where that is known.

    RequestError where they are to be there at once and no key is found.
    """
    if any(attempt.now for attempt in attempts) and not has_key():
        raise RequestError(NO_KEY)
    known = {attempt.identity for attempt in attempts if _known(attempt)}
    yield from (Outcome(identity, "there") for identity in known)
    left = [attempt for attempt in attempts if attempt.identity not in known]
    yield from process.publish(left, MODULE, {}, PUBLISH_SECONDS)


def live(tracking: Tracking) -> bool:
    """Whether runs go to a server as they are."""
    return _mode(tracking) == "online"


def _mode(tracking: Tracking) -> str:
    if tracking.mode != "auto":
        return tracking.mode
    return os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")


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
    import wandb  # noqa: F401  # once for all runs, before they are forked

    return showing.run(Way(_show, _offline, server=True, secret=find_key()[0]))


def _offline(attempt: Attempt) -> Attempt:
    return replace(attempt, tracking=replace(attempt.tracking, mode="offline"))


def _show(attempt: Attempt, ended: Ended) -> str:
    place = attempt.folder / FOLDER
    (place / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ.update(dict.fromkeys(FOLDERS, str(place)) | {"TMPDIR": str(place / "tmp")})
    tempfile.tempdir = None

    def waiting() -> None:
        noted.note(attempt.folder, NAME, "another process shows this run too (are two ranks 0?); it is waited for")
        ended.opened.set()

    with locked(place / f".{attempt.identity}.lock", waiting):
        _forget_files(place, attempt.identity)
        mode = _mode(attempt.tracking)
        os.environ.pop("WANDB_MODE", None)  # W&B refuses to begin with one that it does not know, whatever it is told
        how = _shown(attempt, ended, mode)
        _end_service()
    _check_room(place)
    return how


def _end_service() -> None:
    """W&B writes the rest of a run's file after `finish` has returned; only the end of its service is waited for."""
    import wandb

    wandb.teardown()


def _check_room(place: Path) -> None:
    """OSError where nothing more can be written: W&B itself says nothing of files that it could not write."""
    with tempfile.TemporaryFile(dir=place) as file:
        file.write(bytes(ROOM))
        file.flush()


def _forget_files(place: Path, identity: str) -> None:
    """Those of earlier attempts: this one shows everything again."""
    earlier = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(identity)}(-\d)?")
    for path in place.iterdir():
        if earlier.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _shown(attempt: Attempt, ended: Ended, mode: str) -> str:
    """Everything in one run; what became of it."""
    run = _begun(attempt, ended, mode)
    if run.resumed and ended.is_set() and run.summary.get(CONTENT) == (content := _content(attempt)):
        run.finish()
        _note_uploaded(attempt, content)
        return "there"
    run.define_metric(layout.STEP)
    run.define_metric(f"{layout.TRAIN}*", step_metric=layout.STEP)
    if attempt.follows:
        _log_lines(run, attempt, ended)
    whole = not attempt.follows or ended.ending.how == "done"
    if whole:
        _log_results(run, attempt, mode)
    _alert(run, attempt, ended)
    content = _content(attempt) if whole else ""
    run.summary.update(dict(attempt.summary) | ({CONTENT: content} if whole else {}))
    path, offline = "/".join(filter(None, (run.entity, run.project, run.id))), mode != "online"
    if not whole and ended.ending.how == "interrupted":
        run.mark_preempting()
    run.finish(exit_code=0 if whole else 1)
    if offline or not whole:
        return "kept" if offline else "shown"
    _check_uploaded(path, content)
    _note_uploaded(attempt, content)
    return "shown"


def _begun(attempt: Attempt, ended: Ended, mode: str) -> Any:
    """The run at W&B, resumed where it was there; under another id where somebody deleted it."""
    import wandb

    tracking = attempt.tracking
    patience = {} if os.environ.get(INIT_TIMEOUT) else {"init_timeout": INIT_SECONDS}
    for number in range(1, IDS + 1):
        try:
            run = wandb.init(
                project=tracking.project or None,
                entity=tracking.entity or None,
                id=attempt.identity if number == 1 else f"{attempt.identity}-{number}",
                name=layout.cut(attempt.label),
                group=layout.cut(tracking.group) or None,
                job_type=attempt.job_type,
                tags=layout.tags("", tracking.tags),
                config={layout.STUDY: dict(tracking.axes), **attempt.config, LINEAGE: _lineage(attempt)},
                dir=str(attempt.folder),
                mode=cast(Any, mode),
                resume="allow",
                settings=wandb.Settings(**LIBRARY_SETTINGS, **patience),
            )
        except wandb.errors.CommError as error:
            if number == IDS or not DELETED.search(str(error)):
                raise
            noted.note(attempt.folder, NAME, f"run {attempt.identity} was deleted there; it goes on under another id")
        else:
            ended.opened.set()
            return run
    raise AssertionError("the last id has raised or returned")


def _log_lines(run: Any, attempt: Attempt, ended: Ended) -> None:
    """Each step that the run has not yet. Of one that was done again after a kill it keeps the first, as the server
    would: what was learnt is the same to the bit, and only its times are those of the earlier start.
    """
    had = run.summary.get(layout.STEP) if run.resumed else 0
    last = int(had) if isinstance(had, int | float) else 0
    for row in showing.history(attempt.metrics, ended):
        if row[layout.STEP] > last:
            run.log(row, step=int(row[layout.STEP]))


def _log_results(run: Any, attempt: Attempt, mode: str) -> None:
    """Tables and artifacts; offline W&B knows no artifacts that a run uses, which the config names too."""
    import wandb

    if attempt.tables:
        tables = {name: wandb.Table(list(table.columns), list(table.rows)) for name, table in attempt.tables.items()}
        run.log(tables)
    for artifact in attempt.makes:
        run.log_artifact(_artifact(artifact))
    for artifact in attempt.uses if mode == "online" else ():
        run.use_artifact(_artifact(artifact))


def _lineage(attempt: Attempt) -> dict[str, list[str]]:
    """Which artifacts a run uses and makes: of files that were written without a server, the only place for it."""
    return {"uses": [one.name for one in attempt.uses], "makes": [one.name for one in attempt.makes]}


def _artifact(told: Artifact) -> Any:
    import wandb

    name = layout.cut(re.sub(r"[^\w.-]", "_", told.name, flags=re.ASCII))  # an artifact's has no other letters
    made = wandb.Artifact(name, told.kind, metadata=dict(told.facts))
    for part, file in told.files.items():
        if "://" in file or Path(file).exists():  # of what is gone there is no reference; the facts stay
            made.add_reference(file if "://" in file else Path(file).absolute().as_uri(), name=part, checksum=False)
    return made


def _alert(run: Any, attempt: Attempt, ended: Ended) -> None:
    for alert in attempt.alerts:
        run.alert(alert.title, alert.text, "ERROR" if alert.bad else "INFO")
    if attempt.follows and ended.ending.how == "failed":
        run.alert(f"{attempt.label} failed", ended.ending.why, "ERROR")


def _content(attempt: Attempt) -> str:
    """A digest of what a run is to show; a training run's is that of its lines."""
    if attempt.follows:
        with suppress(OSError):
            return sha256(attempt.metrics.read_bytes()).hexdigest()[:CONTENT_LENGTH]
    whole = asdict(attempt)
    told = [whole[name] for name in ("label", "config", "summary", "tables", "uses", "makes")]
    return sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:CONTENT_LENGTH]


def _check_uploaded(path: str, content: str) -> None:
    """RuntimeError unless the server has what was written last: W&B itself ends without a word when it gives up."""
    import wandb

    found = wandb.Api(timeout=CHECK_SECONDS).run(path).summary.get(CONTENT)
    if found != content:
        raise RuntimeError("the server took not all of it; sft-sweeps sync sends the rest")


def _where(tracking: Tracking) -> str:
    return "/".join((server(), tracking.entity, tracking.project))


def _known(attempt: Attempt) -> bool:
    """Whether all of it is at the server, as was written down when it was seen there."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        noted_ = read_json(attempt.folder / FOLDER / UPLOADED) or {}
        return bool(noted_.get(attempt.identity) == [_where(attempt.tracking), _content(attempt)])
    return False


def _note_uploaded(attempt: Attempt, content: str) -> None:
    path = attempt.folder / FOLDER / UPLOADED
    with locked(path.with_name(f".{UPLOADED}.lock")):
        before: dict[str, Any] = {}
        with suppress(ValueError):
            before = read_json(path) or {}
        here = [_where(attempt.tracking), content]
        write_json(path, before | {attempt.identity: here}, durable=False)


def problems(tracking: Tracking) -> Iterator[str]:
    """What W&B would refuse."""
    if re.search(r"[/\\#?%:]", tracking.project):
        yield f"tracking.project={tracking.project} is no project of W&B's: leave out / \\ # ? % and :"


TRACKER = Tracker(NAME, open_mirror, problems, publish, live)


if __name__ == "__main__":
    sys.exit(main())
