"""Base models of the graded miniature: pretraining makes other weights than those drawn, the same each time."""

import json
from dataclasses import replace
from pathlib import Path

from training import in_children

from sft_sweeps.config.resolve_model import model
from sft_sweeps.config.train_schema import ModelConfig, ShapeConfig
from sft_sweeps.data import graded

TINY = ShapeConfig(hidden_size=16, intermediate_size=32, layers=1, heads=2, kv_heads=2, vocab_size=0, max_positions=256)


def config(weights: str) -> ModelConfig:
    return ModelConfig(name="tiny", weights=weights, init_std=0.05, gpus=0, shape=TINY)


def test_weights_that_are_pretrained_are_another_model() -> None:
    pretrained, drawn = model(config("pretrained")), model(config("init"))
    assert pretrained.pretrained
    assert pretrained.made
    assert not drawn.pretrained
    assert pretrained.shape == replace(drawn.shape, vocab_size=graded.VOCABULARY)
    assert len({pretrained.id, drawn.id, model(replace(config("pretrained"), seed=1)).id}) == 3


def prepared(folder: str) -> str:
    """The digest of a prepared model, and what it and the model that was drawn lose on documents, in nats a token."""
    from sft_sweeps.generate.hf import HFEngine
    from sft_sweeps.models import init
    from sft_sweeps.spec.evaluation import Engine
    from sft_sweeps.store.store import Store
    from sft_sweeps.train import prepare, pretrain

    pretrain.DOCUMENTS = 320
    base, store = model(config("pretrained")), Store(folder)
    made = store.folder(base)
    made.mkdir(parents=True)
    prepare.prepare(base, store, lambda: False)
    record = store.record(base)
    assert record
    assert not (made / "resume").exists()
    files = [path for path in (made / "model").iterdir() if "token" in path.name]
    init.materialise(base.shape, base.seed, files, made / "drawn", base.init_std)
    documents = list(pretrain.documents(made / "model"))[:40]
    told = [HFEngine(made / name, Engine("hf", "5", "fp32")).losses(documents) for name in ("model", "drawn")]
    return json.dumps([record["digest"], *(sum(loss for loss, _ in one) / sum(n for _, n in one) for one in told)])


def test_pretraining_teaches_the_documents_and_is_repeated_exactly(tmp_path: Path) -> None:
    first, second = (json.loads(answer) for answer in in_children(prepared, [(str(tmp_path / n),) for n in "ab"]))
    assert first == second
    _, pretrained, drawn = first
    assert pretrained < drawn - 0.3
