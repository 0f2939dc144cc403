"""What a subject's weights are made of, as files: a whole model, and the adapters that are merged into it.

A stage that trains an adapter leaves `adapter/`, and `model/` only where the merged model was asked for. It lies on the
weights that were frozen when it was trained: the parent's, or, where the parent's adapter was trained on or stayed
beside it, on those which that one lies on.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sft_sweeps.files import fence
from sft_sweeps.models.adapter import FOLDER, Parts
from sft_sweeps.plan.build import Subject
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store


def whole(subject: Subject, store: Store) -> Parts:
    """What the whole weights of a subject are made of, whether the files are there or not."""
    folder = store.weights(subject)
    if not isinstance(subject, Stage) or not subject.recipe.adapter or folder.is_dir():
        return Parts(folder)
    below = frozen(subject, store)
    own = store.read_folder(subject) / FOLDER
    return Parts(below.whole, (*below.adapters, own), subject.recipe.model_dtype)


def frozen(stage: Stage, store: Store) -> Parts:
    """What a stage's training begins with, without the adapter of `before`; under an adapter it stays as it is."""
    parent = stage.parent
    return frozen(parent, store) if isinstance(parent, Stage) and before(stage, store) else whole(parent, store)


def before(stage: Stage, store: Store) -> Path | None:
    """The parent's adapter, where it is trained on or stays beside a new one."""
    parent, own = stage.parent, stage.recipe.adapter
    if own is None or own.then == "merge" or not isinstance(parent, Stage) or not parent.recipe.adapter:
        return None
    return store.read_folder(parent) / FOLDER


@contextmanager
def whole_folder(parts: Parts, place: Path) -> Iterator[Path]:
    """The folder of a whole model: where it lies, or merged into a hidden one in `place` for as long as it is used."""
    if not parts.adapters:
        yield parts.whole
        return
    from sft_sweeps.models import merging  # NumPy, which whoever only asks where files lie does without

    place.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".merged{fence.token()}-", dir=place))
    try:
        merging.merge(parts, hidden / "model")
        yield hidden / "model"
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
