"""The engine against plain loops: an answer depends on its prompt alone, a loss is a cross-entropy."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from transformers import LlamaForCausalLM

from sft_sweeps.data import mini
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.generate.engine import greedy as asked
from sft_sweeps.generate.hf import Answer, HFEngine
from sft_sweeps.spec.evaluation import Engine

ENGINE = Engine("hf", "5", "fp32")
NEW = 12
Prompts = list[list[int]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> HFEngine:
    return HFEngine(folder, ENGINE)


@pytest.fixture(scope="module")
def plain(folder: Path) -> LlamaForCausalLM:
    """Another copy of the same weights, for the oracles."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    stream = random.Random(3)
    return [[1, *(stream.randrange(3, mini.VOCABULARY) for _ in range(stream.randrange(1, 40)))] for _ in range(20)]


@torch.no_grad()
def greedy(model: LlamaForCausalLM, prompt: list[int], new: int, eos_id: int) -> Answer:
    """One forward pass for each token, without padding, mask or cache."""
    ids = list(prompt)
    for _ in range(min(new, tiny.POSITIONS - len(prompt))):
        token = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
        if token == eos_id:
            return Answer(ids[len(prompt) :], True)
        ids.append(token)
    return Answer(ids[len(prompt) :], False)


@pytest.fixture(scope="module")
def eos_id(plain: LlamaForCausalLM, prompts: Prompts) -> int:
    """A token that ends some answers early and not others: a random model hardly ever writes a given one."""
    answers = [greedy(plain, prompt, NEW, -1).ids for prompt in prompts]
    counts = {token: sum(token in answer for answer in answers) for answer in answers for token in answer[3:]}
    return max(counts, key=lambda token: counts[token])


@pytest.fixture(scope="module")
def expected(plain: LlamaForCausalLM, prompts: Prompts, eos_id: int) -> list[Answer]:
    found = [greedy(plain, prompt, NEW, eos_id) for prompt in prompts]
    assert {answer.finished for answer in found} == {True, False}
    assert len({tuple(answer.ids) for answer in found}) > 15
    return found


@pytest.mark.parametrize("batch_size", [1, 3, 20, 64])
def test_answers_are_those_of_a_plain_loop(
    batch_size: int, engine: HFEngine, prompts: Prompts, expected: list[Answer], eos_id: int
) -> None:
    assert engine.generate(asked(prompts, NEW, eos_id), batch_size) == expected


def test_answers_do_not_depend_on_the_order(
    engine: HFEngine, prompts: Prompts, expected: list[Answer], eos_id: int
) -> None:
    places = list(range(len(prompts)))
    random.Random(1).shuffle(places)
    assert places != sorted(places)
    found = engine.generate(asked([prompts[place] for place in places], NEW, eos_id), 6)
    assert found == [expected[place] for place in places]


def test_prompts_that_hold_the_end_token_are_text(engine: HFEngine, plain: LlamaForCausalLM, eos_id: int) -> None:
    """A conversation's earlier rounds end with it, and padding is made of it."""
    given = [[1, 50, eos_id, 60, 70], [1, eos_id, eos_id, 9], [1, 300, 200, 100, 90, 80, 70, 60]]
    assert engine.generate(asked(given, NEW, eos_id), 3) == [greedy(plain, prompt, NEW, eos_id) for prompt in given]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_prompt_without_room_is_not_answered_and_harms_no_neighbour(
    batch_size: int, engine: HFEngine, plain: LlamaForCausalLM, eos_id: int
) -> None:
    stream = random.Random(5)
    lengths = (tiny.POSITIONS + 30, tiny.POSITIONS, tiny.POSITIONS - 1, tiny.POSITIONS - 4, 30, 5)
    given = [[1, *(stream.randrange(3, mini.VOCABULARY) for _ in range(length - 1))] for length in lengths]
    found = engine.generate(asked(given, NEW, eos_id), batch_size)
    assert found[:2] == [Answer([], False)] * 2
    assert found[2:] == [greedy(plain, prompt, NEW, eos_id) for prompt in given[2:]]
    assert [len(answer.ids) <= room for answer, room in zip(found[2:], (1, 4, NEW, NEW), strict=True)] == [True] * 4
    assert found[4].ids


def test_nothing_is_answered_with_nothing(engine: HFEngine, eos_id: int) -> None:
    assert engine.generate(asked([], NEW, eos_id), 4) == []


def test_a_models_own_generation_settings_are_not_used(
    folder: Path, tmp_path: Path, prompts: Prompts, expected: list[Answer], eos_id: int
) -> None:
    """Published models bring them; `generate` would fill in whatever its caller leaves open."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    own = {"repetition_penalty": 5.0, "no_repeat_ngram_size": 1, "min_length": 60, "num_beams": 3, "do_sample": True}
    (tmp_path / "generation_config.json").write_text(json.dumps({**own, "temperature": 9.0, "eos_token_id": [7, 8]}))
    assert HFEngine(tmp_path, ENGINE).generate(asked(prompts, NEW, eos_id), 8) == expected


def test_progress_counts_prompts_and_can_stop(engine: HFEngine, prompts: Prompts, eos_id: int) -> None:
    seen: list[int] = []
    engine.generate(asked(prompts, 1, eos_id), 8, progress=seen.append)
    assert seen == [8, 16, 20]

    def stop(done: int) -> None:
        raise Interrupted(f"after {done}")

    with pytest.raises(Interrupted, match="after 8"):
        engine.generate(asked(prompts, 1, eos_id), 8, progress=stop)


def test_losses_are_the_cross_entropy_of_the_supervised_tokens(
    folder: Path, engine: HFEngine, plain: LlamaForCausalLM
) -> None:
    examples = mini.generate("mini_general", 12, 0)
    encoded, dropped = Encoder(folder, "vicuna_bare", tiny.POSITIONS).encode_all(examples)
    assert (len(encoded), dropped) == (12, {})
    assert any(example.supervised.sum() > 6 for example in encoded)
    found = engine.losses(encoded)
    for example, (total, tokens) in zip(encoded, found, strict=True):
        with torch.no_grad():
            logits = plain(torch.from_numpy(example.input_ids[None].astype(np.int64))).logits[0].double().numpy()
        shifted = logits - logits.max(axis=1, keepdims=True)
        surprise = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(logits)), np.roll(example.input_ids, -1)]
        places = np.flatnonzero(example.supervised)
        assert places[0] > 0
        assert tokens == len(places)
        assert total == pytest.approx(surprise[places - 1].sum(), rel=1e-5)


def test_losses_report_progress(folder: Path, engine: HFEngine) -> None:
    encoded, _ = Encoder(folder, "vicuna_bare", tiny.POSITIONS).encode_all(mini.generate("mini_math", 3, 0))
    seen: list[int] = []
    assert len(engine.losses(encoded, seen.append)) == 3
    assert seen == [1, 2, 3]


def test_another_version_than_the_generations_is_refused(folder: Path) -> None:
    with pytest.raises(RunError, match=r"transformers \d+ is installed, but evaluate.engine_version=4"):
        HFEngine(folder, Engine("hf", "4", "fp32"))


def test_weights_are_loaded_in_the_engines_dtype(folder: Path) -> None:
    assert HFEngine(folder, Engine("hf", "5", "bf16")).model.dtype == torch.bfloat16
