"""A published folder: made under a hidden name and renamed, or brought up to date file by file; never somebody else's.

`publication.json` names what a folder holds. A start that was killed is continued: files that are there whole stay.
Weights are hard links to the store's where that is possible, so that they take no room and outlive the store's
retention; all else is copied, since it may be edited.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.errors import RequestError
from sft_sweeps.files import checksum
from sft_sweeps.files.json_files import read_json, write_json, write_text

MARK = "publication.json"
SCHEMA = 1
LINKED = ".safetensors"


@dataclass(frozen=True)
class Kept:
    """A file of the store, with its checksum where that is known."""

    path: Path
    checksum: str = ""


Content = str | Kept
Subject = Mapping[str, Any]  # what a folder is the publication of: `kind`, `id`, `label`


def check(target: Path, subject: Subject) -> None:
    """RequestError where a folder holds anything but an earlier publication of the same."""
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise RequestError(f"{target} is no folder; choose another: --out FOLDER")
    published = _mark(target)
    if published is None and any(target.iterdir()):
        raise RequestError(f"{target} holds something else and is left alone; choose another: --out FOLDER")
    if published is not None and published.get("id") != subject["id"]:
        raise RequestError(
            f"{target} holds the publication of {published.get('label', 'something else')} ({published.get('id')}); "
            "choose another: --out FOLDER"
        )


def _mark(folder: Path) -> dict[str, Any] | None:
    """What a folder says that it is; None where it says nothing that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(read_json(folder / MARK))
    return None


def claim(target: Path, subject: Subject) -> None:
    """Say what a folder is to hold, where it does not say so yet; RequestError where it holds something else."""
    check(target, subject)
    if _mark(target) is None:
        write(target, {}, subject)


def write(target: Path, files: Mapping[str, Content], subject: Subject, *, link: bool = True) -> int:
    """Publish files under their names; says how many bytes are links to the store's."""
    check(target, subject)
    if _mark(target) is not None:
        return _fill(target, files, subject, link)
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.publishing")
    if (_mark(staged) or {}).get("id") != subject["id"]:
        shutil.rmtree(staged, ignore_errors=True)
        write_json(staged / MARK, dict(subject))
    linked = _fill(staged, files, subject, link)
    staged.rename(target)  # over an empty folder, too
    return linked


def _fill(folder: Path, files: Mapping[str, Content], subject: Subject, link: bool) -> int:
    """Every file whole and at once, the mark last; what an earlier publication had besides is removed."""
    earlier = (_mark(folder) or {}).get("files", {})
    linked = 0
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            write_text(folder / name, content)
        else:
            linked += _keep(content, folder / name, link and name.endswith(LINKED))
    for name in earlier.keys() - files.keys() if isinstance(earlier, Mapping) else ():
        if (folder / name).resolve().is_relative_to(folder.resolve()):
            (folder / name).unlink(missing_ok=True)
    sizes = {name: (folder / name).stat().st_size for name in sorted(files)}
    made_by = f"sft-sweeps {__version__}"
    write_json(folder / MARK, {"schema": SCHEMA, **subject, "made_by": made_by, "files": sizes})
    return linked


def _keep(kept: Kept, path: Path, link: bool) -> int:
    """A file of the store under another name; how many bytes of it are a link."""
    size = kept.path.stat().st_size
    if _same(kept, path):
        return size if path.samefile(kept.path) else 0
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        linked = link and _linked(kept.path, temporary)
        if not linked:
            shutil.copyfile(kept.path, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return size if linked else 0


def _linked(path: Path, name: Path) -> bool:
    """Whether a hard link could be made: not on another file system, nor of everybody's files."""
    try:
        os.link(path.resolve(), name)
    except OSError:
        return False
    return True


def _same(kept: Kept, path: Path) -> bool:
    """Whether a file is there already, whole."""
    if not path.is_file():
        return False
    if path.samefile(kept.path):
        return path.name.endswith(LINKED)
    whole = path.stat().st_size == kept.path.stat().st_size
    return whole and checksum.of_file(path) == (kept.checksum or checksum.of_file(kept.path))
