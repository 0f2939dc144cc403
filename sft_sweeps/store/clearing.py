"""What an earlier start left in a folder and is removed, under a claim, before work begins there."""

import contextlib
import shutil
from pathlib import Path

from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.store.resume_states import FOLDER as RESUME
from sft_sweeps.store.store import FREED, FREEING, RECORD


def clear_prepared(folder: Path, keep: str = "") -> None:
    """Under a claim, before anything is read: remove what earlier starts were still preparing (files/fence.py).

    They are the hidden names of a folder and of its `resume/`, but claims and `keep`.
    """
    for path in (*folder.glob(".*"), *(folder / RESUME).glob(".*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != keep and not path.name.startswith(".claim"):
            with contextlib.suppress(OSError):  # NFS keeps an open file under a hidden name
                path.unlink()


def clear_unrecorded(folder: Path) -> None:
    """Under a claim, before work starts: remove a model that no valid record vouches for; resume states stay."""
    (folder / RECORD).unlink(missing_ok=True)
    for model in (folder / "model", folder / ADAPTER, *folder.glob(f"{FREEING}*")):
        shutil.rmtree(model, ignore_errors=True)
    (folder / FREED).unlink(missing_ok=True)
