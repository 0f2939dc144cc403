"""Representations against the model itself: which states, of which prompts, and what is done again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from transformers import LlamaForCausalLM
from values import model, source, stage

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.generate import represent
from sft_sweeps.generate.hf import HFEngine
from sft_sweeps.generate.represent import hidden_states, pooled, prompts
from sft_sweeps.spec.evaluation import Engine, Queries, Representations
from sft_sweeps.store.answers import ITEMS, read_rows
from sft_sweeps.store.store import VECTORS, Store

IDS = np.array([1, 40, 7, 99, 23, 6], dtype=np.int32)
QUERIES = Queries(source(), examples=3, seed=0, template="vicuna_bare", max_length=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> HFEngine:
    return HFEngine(folder, Engine("hf", "5", "fp32"))


def test_a_layer_is_what_its_block_puts_out(engine: HFEngine, folder: Path) -> None:
    """0 are the embeddings; the last one stands behind the final norm. Seen from inside another copy of the model."""
    plain = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    blocks: list[torch.Tensor] = []
    for block in plain.model.layers:
        block.register_forward_hook(
            lambda _module, _given, out: blocks.append(out[0] if isinstance(out, tuple) else out)
        )
    with torch.no_grad():
        plain(torch.from_numpy(IDS).long()[None])
        expected = [plain.model.embed_tokens(torch.from_numpy(IDS).long()), blocks[0].reshape(6, -1)]
        expected.append(plain.model.norm(blocks[1].reshape(6, -1)))
    spread = HFEngine(folder, Engine("hf", "5", "fp32"), ["cpu", "cpu"])  # layers on several devices, as on GPUs
    for layer, states in enumerate(expected):
        for one in (engine, spread):
            torch.testing.assert_close(hidden_states(one, IDS, layer), states, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected[0], expected[1])
    with pytest.raises(RunError, match="has 2 layers, representations of layer 3 were asked for"):
        hidden_states(engine, IDS, 3)


def test_pooling() -> None:
    states = torch.tensor([[1000.0, 0.0], [1.0, 2.0], [3.0, 6.0]])
    assert pooled(states, "last").tolist() == [3.0, 6.0]
    assert pooled(states, "mean").tolist() == [2.0, 4.0]  # without the first token, whose state dwarfs all others
    assert pooled(states[:1], "mean").tolist() == [1000.0, 0.0]


class FakeSource:
    """Encoded examples, given as (prompt, group, reason why nothing is learnt), in the source's order."""

    name = "gsm8k"

    def __init__(self, *rows: tuple[Sequence[int], str, str]) -> None:
        self.rows = rows

    def groups(self) -> list[str]:
        return [group for _, group, _ in self.rows]

    def order(self, seed: int) -> list[int]:
        assert seed == QUERIES.seed
        return list(range(len(self.rows)))

    def encoded(self, index: int) -> Encoded:
        prompt, _, reason = self.rows[index]
        ids, answer = np.array([*prompt, 9, 2], dtype=np.int32), len(prompt)
        return Encoded(f"gsm8k/{index}", self.name, ids, np.arange(len(ids)) >= answer, reason=reason)


ROWS = (
    ([1, 5], "a", ""),
    ([1, 6], "b", ""),
    ([1, 7], "c", ""),
    ([1, 7], "d", ""),  # the same question with another answer, as rejection sampling makes them
    ([1, 8], "e", "no_answer_before_cut"),
    ([1, 9], "f", ""),
    ([1, 4], "f", ""),
)


def test_queries_are_the_last_ones_all_different_of_each_group_one() -> None:
    made: Any = FakeSource(*ROWS)
    assert [(key, ids.tolist()) for key, ids in prompts(made, QUERIES)] == [
        ("gsm8k/6", [1, 4]),
        ("gsm8k/3", [1, 7]),
        ("gsm8k/1", [1, 6]),
    ]


def test_too_few_queries_are_named() -> None:
    made: Any = FakeSource(*ROWS[2:])
    with pytest.raises(RunError, match=r"gsm8k has 2 different prompts, .*queries=3 were asked for; .*queries=2 or"):
        prompts(made, QUERIES)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[Representations]:
    """Of two sources, from a model's folder whose loads are counted."""
    monkeypatch.setattr(represent, "source_finder", lambda *_: lambda _: FakeSource(*ROWS))
    subject = stage(model())
    two = [Queries(source(name), 3, 0, "vicuna_bare", 64) for name in ("gsm8k", "code")]
    return [Representations(subject, queries, 1, "last", "fp32") for queries in two]


def counted(monkeypatch: pytest.MonkeyPatch, engine: HFEngine) -> list[Path]:
    loads: list[Path] = []

    def load(folder: Path, _: Engine) -> HFEngine:
        loads.append(folder)
        return engine

    monkeypatch.setattr(represent, "HFEngine", load)
    return loads


def test_what_is_done_is_not_done_again(
    wanted: list[Representations], engine: HFEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One load for all sources; none where all are there."""
    store, loads, subject = Store(tmp_path), counted(monkeypatch, engine), wanted[0].subject
    represent.represent(subject, wanted[:1], store, lambda: False)
    first = store.representations(wanted[0])
    vectors, written = np.load(first / VECTORS), (first / VECTORS).stat().st_mtime_ns
    for row, ids in zip(vectors, ([1, 4], [1, 7], [1, 6]), strict=True):
        expected = hidden_states(engine, np.array(ids, dtype=np.int32), 1)[-1]
        np.testing.assert_array_equal(row, expected.numpy())
    assert read_rows(first / ITEMS)[0] == {"id": "gsm8k/6", "tokens": 2}
    represent.represent(subject, wanted, store, lambda: False)
    represent.represent(subject, wanted, store, lambda: False)
    assert len(loads) == 2
    assert (first / VECTORS).stat().st_mtime_ns == written
    assert [(store.record(one) or {})["n"] for one in wanted] == [3, 3]


def test_a_stopped_job_says_so_and_leaves_no_record(
    wanted: list[Representations], engine: HFEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counted(monkeypatch, engine)
    with pytest.raises(Interrupted, match="stopped after 0 queries of gsm8k; launch again to go on"):
        represent.represent(wanted[0].subject, wanted, Store(tmp_path), lambda: True)
    assert Store(tmp_path).record(wanted[0]) is None


def test_a_broken_model_gives_no_numbers(
    wanted: list[Representations], engine: HFEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counted(monkeypatch, engine)
    monkeypatch.setattr(represent, "hidden_states", lambda *_: torch.full((2, 4), torch.nan))
    with pytest.raises(RunError, match="no finite numbers"):
        represent.represent(wanted[0].subject, wanted, Store(tmp_path), lambda: False)
