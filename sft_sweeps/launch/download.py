"""Fetching a source's file: resumed where it was cut, checked against its pin, and there as a whole or not at all.

A download grows in FILE.part; FILE.part.etag keeps what the server calls this version of it, so that halves of two
versions are never joined. A data set of the Hugging Face hub is read by `datasets` at its revision and kept as Parquet,
with FILE.made.json to say what it was made from.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

from sft_sweeps.config.resolve import hub_pin
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.errors import RunError
from sft_sweeps.files.content import MADE, content_of
from sft_sweeps.files.json_files import write_json
from sft_sweeps.files.lock import locked

PAUSES = (1.0, 5.0, 15.0, 30.0)  # seconds before each further try
TIMEOUT = 30.0  # seconds without a byte
Progress = Callable[[int, int], None]  # bytes that are there, bytes in all (0: not known)


def fetch(entry: SourceConfig, path: Path, progress: Progress = lambda *_: None) -> None:
    """Have the file of a source at `path`; RunError says why that cannot be and what to place where by hand."""
    if path.is_file():
        return
    if not entry.url and not entry.hub:
        raise RunError(by_hand(entry, path, "it says no url and no hub"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_name(f".{path.name}.lock")):
            if not path.is_file():
                (_from_hub if entry.hub else _from_url)(entry, path, progress)
    except OSError as error:
        raise RunError(
            f"source {entry.name} cannot be written to {path} ({error}); make room or choose data.folder"
        ) from None


def by_hand(entry: SourceConfig, path: Path, why: str) -> str:
    """What to do where a source cannot be fetched."""
    pin = f" It must be {entry.content}." if entry.content else ""
    where = entry.url or (f"hub data set {entry.hub} at {entry.revision}" if entry.hub else entry.origin)
    return (
        f"source {entry.name} cannot be fetched ({why}). Fetch {where} on a machine that can reach it, and place it at "
        f"{path}.{pin}"
    )


def _from_url(entry: SourceConfig, path: Path, progress: Progress) -> None:
    import httpx

    part = path.with_name(f"{path.name}.part")
    for pause in (*PAUSES, None):
        try:
            _stream(entry.url, part, progress)
            break
        except httpx.HTTPStatusError as error:
            gone = error.response.status_code < 500 and error.response.status_code != 429
            why = f"{error.response.status_code} {error.response.reason_phrase}"
            if pause is None or gone:
                raise RunError(by_hand(entry, path, why)) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            unreachable = isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.InvalidURL)
            if pause is None or unreachable:
                raise RunError(by_hand(entry, path, str(error) or type(error).__name__)) from None
        time.sleep(pause)
    _verify(entry, part, path)
    os.replace(part, path)
    _etag(part).unlink(missing_ok=True)


def _stream(url: str, part: Path, progress: Progress) -> None:
    """Go on with what is there of this very version; else from the beginning."""
    import httpx

    there = part.stat().st_size if part.is_file() and _etag(part).is_file() else 0
    asked = {"Range": f"bytes={there}-", "If-Range": _etag(part).read_text()} if there else {}
    headers = {**asked, "Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # all of it is there already, or it is another file now
            part.unlink(missing_ok=True)
            raise httpx.ReadError("what was fetched before is no part of the file")
        response.raise_for_status()
        if response.status_code != 206:
            there = 0
        total = there + int(response.headers.get("Content-Length", 0))
        version = response.headers.get("ETag", "")
        if version and not version.startswith("W/"):
            _etag(part).write_text(version)
        else:
            _etag(part).unlink(missing_ok=True)
        with part.open("ab" if there else "wb") as file:
            for block in response.iter_bytes():  # as they come: of a cut answer nothing is lost
                file.write(block)
                there += len(block)
                progress(there, total)
    if total and there != total:
        raise httpx.ReadError(f"{there:,} of {total:,} bytes came")


def _etag(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _verify(entry: SourceConfig, part: Path, path: Path) -> None:
    if not entry.content:
        return
    content, _ = content_of(part, entry.content)
    if content != entry.content:
        part.unlink()
        _etag(part).unlink(missing_ok=True)
        why = f"what came is {content} and not {entry.content}: another version, or a page that says no"
        raise RunError(by_hand(entry, path, why))


def _from_hub(entry: SourceConfig, path: Path, progress: Progress) -> None:
    from datasets import load_dataset  # a second that only the hub's readers pay

    part = path.with_name(f"{path.name}.part")
    try:
        found = load_dataset(entry.hub, entry.subset or None, split=entry.split, revision=entry.revision)
    except Exception as error:  # the library's errors are of many kinds
        first = (str(error) or type(error).__name__).partition("\n")[0]
        raise RunError(by_hand(entry, path, first)) from None
    found.to_parquet(str(part))
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    write_json(path.with_name(path.name + MADE), {"pin": hub_pin(entry), "sha256": digest})
    os.replace(part, path)
    progress(path.stat().st_size, path.stat().st_size)
    if json.loads(path.with_name(path.name + MADE).read_text())["sha256"] != digest:
        raise RunError(f"{path} was replaced while it was made; prepare it again")
