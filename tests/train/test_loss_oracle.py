"""The loss reductions against Hugging Face's Trainer of 2023: losses and gradient norms that it gave on real rows."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from common import ROOT
from training import RECIPE, in_children

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.execution import TrainExecution

ORACLES = ROOT.parent / "shared" / "data" / "oracles"
NAMES = {"device_mean": "fastchat_micro2", "token_mean": "token_mean", "example_mean": "sample_mean"}
pytestmark = pytest.mark.skipif(
    not (ORACLES / "loss_reduction.json").exists(),
    reason="LOSS REDUCTIONS NOT TESTED AGAINST FASTCHAT: no shared/data/oracles beside the project",
)


@cache
def oracle() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((ORACLES / "loss_reduction.json").read_text())["batches"]
    return found


@cache
def rows() -> dict[str, Encoded]:
    """The rows that FastChat encoded; one that it masked wholly has no supervised token."""
    found = {}
    with gzip.open(ORACLES / "fastchat_vicuna.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            supervised = np.zeros(row["n"], dtype=np.bool_)
            for start, stop in row["supervised_spans"] if not row["all_masked"] else ():
                supervised[start:stop] = True
            found[row["id"]] = Encoded(row["id"], row["source"], np.array(row["input_ids"], np.int32), supervised)
    return found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The oracle's model, bit for bit."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copyfile(ORACLES / "tiny_llama_config.json", folder / "config.json")
    script = [sys.executable, str(ORACLES / "make_tiny_llama.py"), "0", str(folder / "model.safetensors")]
    subprocess.run(script, check=True, timeout=120)
    return folder


def measure(seat: tuple[int, int, str], budget: int, base: str, places: list[int]) -> str:
    """[loss, gradient norm] of every reduction of those batches; at rate 0 all of them start from equal weights."""
    from sft_sweeps.train import loss, ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process
    from sft_sweeps.train.steps import plan_batch

    rank, processes, meeting = seat
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    execution = TrainExecution(processes=processes, token_budget=budget, whole_parameters=0)
    prepare_process(execution)
    found: dict[str, list[list[float]]] = {name: [] for name in NAMES}
    with ranks.process_group(processes, meeting):
        engine = TrainEngine(Path(base), RECIPE, execution)
        for place in places:
            examples = [rows()[name] for name in oracle()[place]["row_ids"]]
            for name, measured in found.items():
                recipe = replace(RECIPE, loss_reduction=name, virtual_devices=8)
                batch = plan_batch(examples, recipe, processes, budget)
                filled = [loss.to_bin(taken, weights, engine.device) for taken, weights in batch.of_rank(rank)]
                mine, norm = engine.step(filled, 0.0)
                measured.append([ranks.sums([float(mine)])[0], norm])
    return json.dumps(found)


def check(tiny: Path, processes: int, budget: int, places: list[int]) -> None:
    meeting = str(tiny / f"meeting-{uuid.uuid4()}")
    asked = [((rank, processes, meeting), budget, str(tiny), places) for rank in range(processes)]
    answers = in_children(measure, asked)
    assert len(set(answers)) == 1, answers
    found = json.loads(answers[0])
    for name, truth in NAMES.items():
        for place, (loss, norm) in zip(places, found[name], strict=True):
            expected = oracle()[place][truth]
            assert loss == pytest.approx(expected["loss"], abs=1e-5), (name, place)
            assert norm == pytest.approx(expected["grad_norm"], abs=1e-5), (name, place)


def test_the_rows_are_those_of_the_oracle() -> None:
    for batch in oracle():
        found = [rows()[name] for name in batch["row_ids"]]
        assert [len(row.input_ids) for row in found] == batch["n_tokens"]
        assert [int(row.supervised[1:].sum()) for row in found] == batch["n_supervised"]


@pytest.mark.parametrize(("processes", "budget"), [(2, 2048)])
def test_one_batch(tiny: Path, processes: int, budget: int) -> None:
    """The first, which has a row that is wholly masked."""
    check(tiny, processes, budget, [0])


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "budget", "places"), [(2, 5000, [0, 1, 2, 3]), (1, 2048, [1]), (4, 30_000, [2])])
def test_every_batch_every_count_of_processes_and_every_budget(
    tiny: Path, processes: int, budget: int, places: list[int]
) -> None:
    check(tiny, processes, budget, places)


@pytest.mark.slow
@pytest.mark.long  # a minute each; that count and budget make no difference test_loss.py shows, of small examples
@pytest.mark.parametrize("budget", [2048, 5000, 30_000])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_all_batches(tiny: Path, processes: int, budget: int) -> None:
    check(tiny, processes, budget, [0, 1, 2, 3])
