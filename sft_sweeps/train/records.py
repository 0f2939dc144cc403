"""The record of a model that was made: the proof that it is finished, with the sizes and checksums of its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_sweeps.plan.build import Subject
from sft_sweeps.store.store import write_record


def record_model(folder: Path, subject: Subject, extra: Mapping[str, Any], *more: str) -> None:
    """Of a subject's folder; `more` are files beside its model that must stay, where they are there."""
    files = [str(path.relative_to(folder)) for path in sorted((folder / "model").iterdir())]
    write_record(folder, subject.payload, [*files, *(name for name in more if (folder / name).is_file())], extra)
