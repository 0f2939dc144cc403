"""The jobs of one `sbatch` call, frozen in one file.

`jobs/<call>.<kinds>.call` in a sweep's folder has one line of JSON for each job, behind a first line that names them:
by the index in the array (-1: no array) the job's id, where its line begins (counted from the end of the first line),
its length and its digest. The batch script names the digest of the first line; so a task trusts what it reads, and
reads two lines of a file that may hold ten thousand.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RunError
from sft_sweeps.files import private
from sft_sweeps.files.json_files import parse_line, read_json
from sft_sweeps.identity import plain, revive
from sft_sweeps.jobs.job import Job

SUFFIX = ".call"
Index = dict[str, tuple[str, int, int, str]]  # the first line


def write(sweep: Path, call: str, jobs: Mapping[int, Job]) -> tuple[Path, str]:
    """Write the file of a call, which nobody but this user may change; it and the digest of its first line."""
    index: Index = {}
    lines, offset = [], 0
    for number, job in jobs.items():
        line = json.dumps(plain(job)).encode()
        index[str(number)] = (job.id, offset, len(line), hashlib.sha256(line).hexdigest())
        lines.append(line)
        offset += len(line) + 1
    first = json.dumps(index).encode() + b"\n"
    kinds = "+".join(sorted({job.kind for job in jobs.values()}))
    path = private.folder(sweep, "jobs") / f"{call}.{kinds}{SUFFIX}"
    private.write(path, first + b"\n".join([*lines, b""]))
    return path, hashlib.sha256(first).hexdigest()


def read(path: Path, digest: str, number: str) -> tuple[bytes, str]:
    """A job's line and its digest at submission; RunError where the first line is not the one of that digest."""
    with private.opened(path) as file:
        first = file.readline()
        if hashlib.sha256(first).hexdigest() != digest:
            raise RunError(f"{path} was changed after it was submitted; launch again")
        _, offset, length, of_job = revive(Index, parse_line(first))[number]
        file.seek(len(first) + offset)
        return file.read(length), of_job


def latest(sweep: Path, kind: str) -> tuple[str, dict[str, Any]]:
    """The subject's id and the JSON of the job of a kind that launches of a sweep froze last; empty without one.

    For what tells of a sweep: who wrote it is not asked. Version 1.0, and launches that stay on this machine, put each
    job into a file of its own.
    """
    found = [path for folder in private.folders(sweep, "jobs") for path in _of_kind(folder, kind)]
    for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        with contextlib.suppress(ValueError):  # what was damaged since tells nothing
            return (
                _of_call(path, kind) if path.suffix == SUFFIX else (path.stem.split("-")[1], _object(read_json(path)))
            )
    return "", {}


def _of_call(path: Path, kind: str) -> tuple[str, dict[str, Any]]:
    """The first job of a kind in the file of a call; ValueError where it cannot be read."""
    with path.open("rb") as file:
        index = revive(Index, parse_line(first := file.readline()))
        of_kind = ((job, at, length) for job, at, length, _ in index.values() if job.startswith(f"{kind}-"))
        job, offset, length = next(of_kind, ("", -1, 0))
        if min(offset, length) < 0 or offset + length > os.fstat(file.fileno()).st_size:
            raise ValueError(f"{path} names no job of the kind {kind}")
        file.seek(len(first) + offset)
        return job.removeprefix(f"{kind}-"), _object(parse_line(file.read(length)))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a job is an object of JSON")
    return value


def _of_kind(folder: Path, kind: str) -> Iterator[Path]:
    yield from folder.glob(f"{kind}-*.json")
    yield from (path for path in folder.glob(f"*{SUFFIX}") if kind in path.stem.rpartition(".")[2].split("+"))
