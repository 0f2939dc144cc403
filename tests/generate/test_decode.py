"""Decoding in a batch that changes: what a prompt is answered depends on nothing beside it, sampled or not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from scipy.stats import chisquare
from tiny import prompts

from sft_sweeps.generate import decode
from sft_sweeps.generate.answers import DIFFERING, seed_of
from sft_sweeps.generate.decode import Decoder, _drawn, _Row, _stream
from sft_sweeps.generate.engine import Sampling
from sft_sweeps.generate.hf import HFEngine
from sft_sweeps.spec.evaluation import Engine

PROMPTS = [[1, *range(3, 4 + n)] for n in (3, 17, 5, 30, 9, 2, 12, 8, 21)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> HFEngine:
    return HFEngine(tiny.write(tmp_path_factory.mktemp("model")), Engine("hf", "5", "fp32"))


def test_sampled_answers_do_not_depend_on_the_batch(engine: HFEngine) -> None:
    sampling = [(0.7, seed_of("x", n)) for n in range(len(PROMPTS))]
    alone = engine.generate(prompts(PROMPTS, 20, sampling), 1)
    together = engine.generate(prompts(PROMPTS, 20, sampling), 4)
    assert alone == together
    other = engine.generate(prompts(PROMPTS, 20, [(0.7, seed + 1) for _, seed in sampling]), 4)
    assert sum(a != b for a, b in zip(alone, other, strict=True)) >= 8
    cold = engine.generate(prompts(PROMPTS, 20, [(1e-6, 5)] * len(PROMPTS)), 4)
    assert cold == engine.generate(prompts(PROMPTS, 20), 4)


WIDENED = decode._widened


def aligned_left(tensor: torch.Tensor, width: int, axis: int) -> torch.Tensor:
    """As `_widened`, with the mask's padding on the other side than that of keys and values."""
    if axis != 1:
        return WIDENED(tensor, width, axis)
    shape = list(tensor.shape)
    shape[axis] = width - shape[axis]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=axis) if shape[axis] else tensor


def shifted(kept: Any) -> Any:
    """As `Decoder._keep`, but the neighbour's keys stay in place of a row's own."""

    def keep(decoder: Decoder, staying: list[int]) -> None:
        kept(decoder, staying)
        for layer in decoder.cache.layers if decoder.cache and len(staying) > 1 else ():
            layer.keys = layer.keys.roll(1, 0)

    return keep


@pytest.mark.parametrize("fault", ["padding", "rows"])
def test_the_self_check_sees_what_entering_and_leaving_rows_can_spoil(
    fault: str, engine: HFEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "padding":
        monkeypatch.setattr(decode, "_widened", aligned_left)
    else:
        monkeypatch.setattr(Decoder, "_keep", shifted(Decoder._keep))
    count, differing = engine.self_check(prompts([*PROMPTS, *([[1, 7, 9]] * 40)], 1), 8)
    assert (count, differing > count * DIFFERING) == (32, True)


def test_draws_follow_the_softmax() -> None:
    logits, temperature = torch.tensor([2.0, 1.0, 0.0, -1.0]), 0.7
    row = _Row(0, 1, temperature, _stream(Sampling(temperature, 3)))
    counts = torch.bincount(torch.tensor([_drawn(logits, row) for _ in range(4000)]), minlength=4)
    expected = torch.softmax(logits.double() / temperature, 0) * 4000
    assert chisquare(counts.numpy(), expected.numpy()).pvalue > 0.001


def test_answers_are_kept_as_they_end(engine: HFEngine) -> None:
    kept: list[int] = []
    answers = engine.generate(prompts(PROMPTS, 7), 2, keep=lambda index, _: kept.append(index))
    assert sorted(kept) == list(range(len(PROMPTS)))
    assert kept[0] in (1, 3, 8)  # the longest first
    assert all(len(answer.ids) == 7 or answer.finished for answer in answers)


def test_prompts_enter_as_soon_as_a_quarter_of_the_batch_is_free(
    engine: HFEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One long answer must not leave the rest of its batch idle; nor do single prompts enter one by one."""
    sizes: list[tuple[int, int]] = []  # rows at work before, rows that enter
    real = Decoder._enter

    def enter(decoder: Decoder, rows: list[_Row], ids: Any) -> None:
        sizes.append((len(decoder.rows), len(rows)))
        real(decoder, rows, ids)

    monkeypatch.setattr(Decoder, "_enter", enter)
    limits = [30, *range(1, 24)]
    given = replace(prompts([[1, 3 + n] for n in range(24)], 30), limits=limits)
    answers = engine.generate(given, 8)
    assert [len(answer.ids) for answer in answers] == limits
    assert sizes[0] == (0, 8)
    assert all(at_work + entering == 8 and entering >= 2 for at_work, entering in sizes[1:-1])
    assert all(at_work > 0 for at_work, _ in sizes[1:])


def test_columns_that_are_padding_for_every_row_are_let_go(engine: HFEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else keys and values grow with the longest prompt that was ever in the batch."""
    unused: list[int] = []  # of the columns before a pass, those that no row uses
    real = Decoder._advance

    def advance(decoder: Decoder) -> None:
        assert decoder.cache is not None
        assert decoder.cache.layers[0].keys.shape[2] == decoder.mask.shape[1]
        unused.append(int((~decoder.mask.any(0)).sum()))
        real(decoder)

    monkeypatch.setattr(Decoder, "_advance", advance)
    given = prompts([[1] * 60, *([1, 3 + n] for n in range(6))], 12)
    engine.generate(replace(given, limits=[2, *[12] * 6]), 4)
    assert len(unused) > 12
    assert set(unused) == {0}


def test_the_self_check_sees_a_lost_mask(engine: HFEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.self_check(prompts(PROMPTS * 5, 1), 8) == (32, 0)
    assert engine.self_check(prompts(PROMPTS, 1), 2) == (9, 0)
    assert engine.self_check(prompts(PROMPTS[:2], 1), 8) == (2, 0)
    assert engine.self_check(prompts(PROMPTS[:1], 1), 8) == (0, 0)
    forward = engine.model.forward

    def lost(*arguments: object, attention_mask: torch.Tensor, **more: object) -> object:
        return forward(*arguments, attention_mask=torch.ones_like(attention_mask), **more)

    monkeypatch.setattr(engine.model, "forward", lost)
    count, differing = engine.self_check(prompts(PROMPTS, 1), 8)
    assert differing > count / 2


def test_seeds_are_an_items_own() -> None:
    seeds = {seed_of(0, item, sample, turn) for item in "abc" for sample in range(3) for turn in range(2)}
    assert len(seeds) == 18
    assert max(seeds) < 2**63
    assert Path(__file__).exists()
