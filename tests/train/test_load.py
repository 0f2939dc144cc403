"""Every ZeRO stage and process count begins from the same weights: those that the folder's one reading gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from training import SHAPE, Job, Outcome, run

from sft_sweeps.models.init import materialise

EXECUTIONS = [(2, 1), (2, 2), (3, 2)]  # ZeRO stage, processes


@pytest.fixture
def base(tmp_path: Path) -> Path:
    materialise(SHAPE, 0, [], tmp_path / "base")
    return tmp_path / "base"


def first_step(base: Path, stage: int, processes: int) -> tuple[Outcome, dict[str, object]]:
    """One step, and what the start of it noted."""
    execution = {"zero_stage": stage, "token_budget": 100, "whole_parameters": 0}
    job = Job(str(base), str(base.parent / f"{base.name}-{stage}-{processes}"), execution, stop_at=1)
    outcome = run(job, processes)[0]
    noted = Path(job.folder) / "starts.jsonl"
    return outcome, json.loads(noted.read_text().splitlines()[-1]) if noted.exists() else {}


def test_the_same_weights_and_the_same_first_loss(base: Path) -> None:
    found = [first_step(base, *execution) for execution in EXECUTIONS]
    assert {outcome.error for outcome, _ in found} == {"Interrupted"}, found[0][0].log
    losses = [outcome.metrics[0]["loss"] for outcome, _ in found]
    assert max(losses) - min(losses) < 1e-5
    assert len({noted["loaded"] for _, noted in found}) == 1
    changed = load_file(base / "model.safetensors")
    changed["model.norm.weight"][3] = np.nextafter(changed["model.norm.weight"][3], np.float32(2))
    save_file(changed, base / "model.safetensors")
    assert first_step(base, 2, 1)[1]["loaded"] != found[0][1]["loaded"]


@pytest.mark.parametrize("kind", ["stray", "tied"])
def test_two_readings_are_refused_by_every_stage(base: Path, kind: str) -> None:
    if kind == "stray":
        tensors = load_file(base / "model.safetensors")
        save_file({name: np.zeros_like(value) for name, value in tensors.items()}, base / "old_model.safetensors")
    else:
        config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": True}
        (base / "config.json").write_text(json.dumps(config))
    (two, _), (three, _) = (first_step(base, stage, 1) for stage in (2, 3))
    assert two.error == three.error == "RunError", two.log
    assert two.message == three.message
    assert {"stray": "old_model.safetensors", "tied": "tie_word_embeddings"}[kind] in two.message
