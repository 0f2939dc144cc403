"""Downloading sources' files: resumed where one was cut, checked against its pin, and there as a whole or not at all.

A download grows in FILE.part; FILE.part.etag keeps what the server calls this version of it, so that halves of two
versions are never joined. A data set of the Hugging Face hub is read by `datasets` at its revision and kept as Parquet,
with FILE.made.json to say what it was made from.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from sft_sweeps.config.resolve_sources import hub_pin
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.files.content import MADE, content_pin
from sft_sweeps.files.json_files import write_json
from sft_sweeps.files.lock import locked
from sft_sweeps.terminal import say

PAUSES = (1.0, 5.0, 15.0, 30.0)  # seconds before each further try
TIMEOUT = 30.0  # seconds without a byte
Report = Callable[[int, int], None]  # bytes that are here, bytes in all (0: not known)


def download_all(entries: Mapping[Path, SourceConfig], out: Console) -> dict[Path, str]:
    """Download the files that are not here, with a bar for each; the reasons, by path, of those that failed."""
    failures = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        for path, entry in entries.items():
            if path.is_file():
                continue
            if entry.path:
                failures[path] = f"{entry.name}: there is no file {path}. Correct the path, or leave it out."
                continue
            try:
                download_file(entry, path, _bar(progress, entry.name))
                say(out, f"fetched {entry.name}: {path}")
            except RunError as error:
                failures[path] = str(error)
    return failures


def _bar(progress: Progress, name: str) -> Report:
    """A new bar, and what moves it."""
    task = progress.add_task(name)

    def report(received: int, total: int) -> None:
        progress.update(task, completed=received, total=total or None)

    return report


def download_file(entry: SourceConfig, path: Path, report: Report = lambda *_: None) -> None:
    """Have the file of a source at `path`; RunError says why that failed and what file to place there by hand."""
    if path.is_file():
        return
    if not entry.url and not entry.hub:
        raise RunError(by_hand(entry, path, "it has neither url nor hub"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            if not path.is_file():
                (_from_hub if entry.hub else _from_url)(entry, path, report)
    except OSError as error:
        raise RunError(f"{entry.name} cannot be written to {path} ({error}); make room or choose data.folder") from None


def by_hand(entry: SourceConfig, path: Path, why: str) -> str:
    """What to do where a source cannot be downloaded."""
    pin = f" It must be {entry.content}." if entry.content else ""
    origin = entry.url or (f"hub data set {entry.hub} at {entry.revision}" if entry.hub else entry.origin)
    return (
        f"{entry.name} cannot be fetched ({why}). Fetch {origin} on a machine that can reach it, and place it "
        f"at {path}.{pin}"
    )


def _from_url(entry: SourceConfig, path: Path, report: Report) -> None:
    import httpx  # 0.1 s that only downloading pays

    part = path.with_name(f"{path.name}.part")
    for pause in (*PAUSES, None):
        try:
            _stream(entry.url, part, report)
            break
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if pause is None or (status < 500 and status != 429):
                raise RunError(by_hand(entry, path, f"{status} {error.response.reason_phrase}")) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            unreachable = isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.InvalidURL)
            if pause is None or unreachable:
                raise RunError(by_hand(entry, path, str(error) or type(error).__name__)) from None
        time.sleep(pause)
    _verify(entry, part, path)
    os.replace(part, path)
    _etag(part).unlink(missing_ok=True)


def _stream(url: str, part: Path, report: Report) -> None:
    """Continue what is in `part` of this very version; else begin anew."""
    import httpx

    received = part.stat().st_size if part.is_file() and _etag(part).is_file() else 0
    resumed = {"Range": f"bytes={received}-", "If-Range": _etag(part).read_text()} if received else {}
    headers = {**resumed, "Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # all of it is here already, or it is another file now
            part.unlink(missing_ok=True)
            raise httpx.ReadError("what was downloaded before is not part of the file")
        response.raise_for_status()
        if response.status_code != 206:
            received = 0
        total = received + int(response.headers.get("Content-Length", 0))
        _keep_version(part, response.headers.get("ETag", ""))
        with part.open("ab" if received else "wb") as file:
            for block in response.iter_bytes():  # as they come: of a cut answer nothing is lost
                file.write(block)
                received += len(block)
                report(received, total)
    if total and received != total:
        raise httpx.ReadError(f"{received:,} of {total:,} bytes were received")


def _keep_version(part: Path, etag: str) -> None:
    """Note what version the server sends; a weak one (W/) does not promise equal bytes."""
    if etag and not etag.startswith("W/"):
        _etag(part).write_text(etag)
    else:
        _etag(part).unlink(missing_ok=True)


def _etag(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _verify(entry: SourceConfig, part: Path, path: Path) -> None:
    """RunError, and nothing kept, where the file is not the pinned one."""
    if not entry.content:
        return
    try:
        content, _ = content_pin(part, entry.content)
    except RequestError:
        content = "damaged"
    if content != entry.content:
        part.unlink()
        _etag(part).unlink(missing_ok=True)
        why = f"what was sent is {content} and not {entry.content}: another version, or an error page"
        raise RunError(by_hand(entry, path, why))


def _from_hub(entry: SourceConfig, path: Path, report: Report) -> None:
    from datasets import load_dataset  # a second that only the hub's readers pay

    part, about = path.with_name(f"{path.name}.part"), path.with_name(path.name + MADE)
    try:
        rows = load_dataset(entry.hub, entry.subset or None, split=entry.split, revision=entry.revision)
    except Exception as error:  # the library's errors are of many kinds
        first_line = (str(error) or type(error).__name__).partition("\n")[0]
        raise RunError(by_hand(entry, path, first_line)) from None
    rows.to_parquet(str(part))
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    write_json(about, {"pin": hub_pin(entry), "sha256": digest})
    os.replace(part, path)
    report(path.stat().st_size, path.stat().st_size)
    if json.loads(about.read_text())["sha256"] != digest:
        raise RunError(f"{path} was replaced while it was made; prepare it again")
