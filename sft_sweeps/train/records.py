"""The record of a model that was made: the proof that it is finished, with the sizes and checksums of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_sweeps.files import checksum
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.plan.build import Subject
from sft_sweeps.store.store import merges_again, write_record


def record_model(folder: Path, subject: Subject, extra: Mapping[str, Any], *more: str) -> None:
    """Of a subject's folder; `more` are files beside its model that must stay, where they are there.

    What vouches for an adapter's model is the adapter: the merged one may go, and is merged again.
    """
    kept = ADAPTER if merges_again(subject) else "model"
    if kept == ADAPTER and (folder / "model").is_dir():
        extra = {**extra, "merged": {name: checksum.of_file(folder / name) for name in _files(folder, "model")}}
    files = [*_files(folder, kept), *(name for name in more if (folder / name).is_file())]
    write_record(folder, subject.payload, files, extra)


def _files(folder: Path, name: str) -> list[str]:
    """The files of a folder inside it, by their paths in it."""
    return [f"{name}/{path.name}" for path in sorted((folder / name).iterdir())]
