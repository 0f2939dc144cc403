"""A stage continues with another process count: the same weights, moments and step, and then the same losses."""

import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training import RECIPE, SHAPE, WAIT, Job, Outcome, in_children, limit_groups, run, start

from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.adapter import Parts
from sft_sweeps.models.init import materialise
from sft_sweeps.store import resume_states
from sft_sweeps.train import convert

STEPS, STOP = 20, 6
PARTITIONED = {"token_budget": 100, "whole_parameters": 0}
GROUP = 1000  # weights, of a model of 30,000
WHOLE = {"token_budget": 100}
# In bf16, bins that are put together in another way round in another way.
CLOSE = {"fp32": 1e-5, "bf16": 3e-4}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convert")
    materialise(SHAPE, 0, [], folder / "base")
    return folder


def stopped(scratch: Path, name: str, processes: int, **changed: Any) -> Job:
    """A stage that was stopped after step STOP."""
    job = replace(Job(str(scratch / "base"), str(scratch / name), PARTITIONED), **changed)
    outcomes = run(replace(job, stop_at=STOP), processes)
    assert [outcome.error for outcome in outcomes] == ["Interrupted"] * processes, outcomes[0].log
    return job


def resume_names(job: Job) -> list[str]:
    return sorted(path.name for path in (Path(job.folder) / resume_states.FOLDER).iterdir())


def losses(outcome: Outcome) -> list[float]:
    return [step["loss"] for step in outcome.metrics]


def weights(job: Job) -> torch.Tensor:
    """All the finished weights in one row."""
    found = load_file(Path(job.folder) / "model" / "model.safetensors")
    return torch.cat([found[name].flatten() for name in sorted(found)])


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (2, 1, {"execution": PARTITIONED, "group_size": GROUP}),
        (1, 2, {"execution": PARTITIONED}),
        pytest.param(2, 4, {"execution": WHOLE}, marks=[pytest.mark.slow, pytest.mark.long]),
        pytest.param(
            2, 1, {"execution": WHOLE, "recipe": {"precision": "bf16"}}, marks=[pytest.mark.slow, pytest.mark.long]
        ),
    ],
)
def test_the_losses_go_on_as_if_nothing_had_happened(
    before: int, after: int, changed: dict[str, Any], scratch: Path
) -> None:
    case = f"{before}-{after}-{len(list(scratch.iterdir()))}"
    whole = replace(Job(str(scratch / "base"), str(scratch / f"whole-{case}")), **changed)
    job = stopped(scratch, f"code+math-{case}", before, **changed)
    undisturbed, continued = run(whole, before)[0], run(job, after)
    assert [outcome.error for outcome in continued] == [""] * after, continued[0].log
    assert [step["step"] for step in continued[0].metrics] == list(range(STOP + 1, STEPS + 1))
    close = CLOSE[job.recipe.get("precision", "fp32")]
    assert losses(continued[0]) == pytest.approx(losses(undisturbed)[STOP:], abs=close)
    assert float((weights(job) - weights(whole)).abs().max()) < close
    assert f"step-{STOP:08d} of {before} processes loaded by {after}" in continued[0].log
    lines = (Path(job.folder) / convert.RECORD).read_text().splitlines()
    told = [{name: value for name, value in json.loads(line).items() if name != "time"} for line in lines]
    assert told == [{"step": STOP, "from_processes": before, "to_processes": after}]
    assert resume_names(job) == [f"step-{STOP:08d}"]


def held(rank: int, processes: int, job_folder: str, parent: str, precision: str) -> str:
    """What an engine holds that continues: digests of the weights and moments, and the groups' counts of steps."""
    from deepspeed.utils import safe_get_full_optimizer_state

    from sft_sweeps.train import engine, loop, ranks
    from sft_sweeps.train.start import Start

    limit_groups(GROUP)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(processes))
    execution = TrainExecution(processes=processes, **PARTITIONED)
    engine.prepare_process(execution)
    recipe = replace(RECIPE, precision=precision)
    with ranks.process_group(processes, f"{job_folder}/meeting-{processes}-{precision}"):
        found, done = loop._continued(
            Start(Path(parent), None, Parts(Path(parent))), Path(job_folder), recipe, execution, lambda: False
        )
        digest, names = hashlib.sha256(), []
        for name, weights in found.full_weights():
            digest.update(weights.numpy().tobytes())
            names.append(name)
        parameters = dict(found.deepspeed.module.named_parameters())
        for name in names:
            for moment in ("exp_avg", "exp_avg_sq"):
                full = safe_get_full_optimizer_state(parameters[name], moment)
                digest.update(full.reshape(-1).numpy().tobytes())
        steps = [state["step"] for state in found._optimizer.state.values()]
    apart = len({step.data_ptr() for step in steps}) == len(steps)
    counts = {float(step) for step in steps}
    return json.dumps([digest.hexdigest(), done, len(steps) > 2, apart, sorted(counts), len(names)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_moments_and_step_survive_bit_for_bit(precision: str, scratch: Path) -> None:
    """Loaded by those that saved, and by any other count; many groups must not share one count of steps."""
    job = stopped(scratch, f"held-{precision}", 2, recipe={"precision": precision}, group_size=GROUP)
    found = {}
    for processes in (2, 1, 4):
        asked = [(rank, processes, job.folder, job.parent, precision) for rank in range(processes)]
        answers = in_children(held, asked)
        assert len(set(answers)) == 1, answers
        found[processes] = json.loads(answers[0])
    assert found[2][1:] == [STOP, True, True, [float(STOP)], 21]
    assert found[1] == found[4] == found[2]


def at_work(folder: Path) -> list[str]:
    """The processes whose working folder lies in that one."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.readlink(process / "cwd").startswith(str(folder)):
                found.append(process.name)
    return found


def test_killed_while_converting_the_state_stays(scratch: Path) -> None:
    job = stopped(scratch, "killed", 2)
    target = Path(job.folder) / resume_states.FOLDER / convert.CONVERTED
    (rank,), outcomes = start(job, 1)
    deadline = time.monotonic() + WAIT
    while not any(target.glob("zero/tmp/**/*.*")) and time.monotonic() < deadline:
        time.sleep(0.001)
    rank.kill()
    killed = outcomes()[0]
    assert (killed.metrics, (Path(job.folder) / convert.RECORD).exists()) == ([], False)
    assert target.exists(), "killed too late"
    while at_work(Path(job.folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert at_work(Path(job.folder)) == []
    continued = run(job, 1)[0]
    assert not continued.error, continued.log
    assert len(continued.metrics) == STEPS - STOP
    assert resume_names(job) == [f"step-{STOP:08d}"]


def test_stopped_while_converting_all_leave_and_the_state_stays(scratch: Path) -> None:
    job = stopped(scratch, "asked", 1)
    for outcome in run(replace(job, stop_at=1), 2):
        assert outcome.error == "Interrupted", outcome.log
        assert "stopped while its resume state was converted" in outcome.message
    assert resume_names(job) == [f"step-{STOP:08d}"]
    assert losses(run(job, 1)[0])[-1] > 0


def test_a_full_disk_is_told_with_what_to_do(scratch: Path) -> None:
    job = stopped(scratch, "full", 2)
    outcome = run(replace(job, file_bytes=3000), 1)[0]
    assert outcome.error == "RunError", outcome.log
    for part in ("saved with 2 processes and could not be converted for 1", "Make room", "again with 2 processes"):
        assert part in outcome.message
    assert resume_names(job) == [f"step-{STOP:08d}"]
    assert len(run(job, 1)[0].metrics) == STEPS - STOP
