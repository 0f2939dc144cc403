"""Making a base model: what a job that prepares one does. Without pretraining it needs no torch, and imports none."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from sft_sweeps.models import init, train_tokenizer, weights
from sft_sweeps.spec.training import Model
from sft_sweeps.store.store import Store
from sft_sweeps.train.records import record_model


def prepare(model: Model, store: Store, stop: Callable[[], bool]) -> None:
    """Make a base model from its seed, and pretrain it where that is asked for."""
    folder = store.folder(model)
    with TemporaryDirectory() as name:
        tokenizer, drawn = Path(name) / "tokenizer", Path(name) / "drawn"
        train_tokenizer.copy(Path(model.tokenizer_path), tokenizer)
        files = sorted(tokenizer.iterdir())
        init.materialise(
            model.shape, model.seed, files, drawn if model.pretrained else folder / "model", model.init_std
        )
        if model.pretrained:
            from sft_sweeps.train.pretrain import pretrain

            pretrain(drawn, folder, stop)
    record_model(folder, model, {"digest": weights.digest(folder / "model")})
