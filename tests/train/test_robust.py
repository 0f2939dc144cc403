"""What goes wrong while training: memory that runs out, a loss that is no number, one that grows."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from training import RECIPE, SHAPE, Job, in_child, run

from sft_sweeps.errors import RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.models.init import materialise
from sft_sweeps.store import resume_states
from sft_sweeps.train import budget
from sft_sweeps.train.loop import save_due

STEPS = 20


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robust")
    materialise(SHAPE, 0, [], folder / "base")
    return folder


def job(scratch: Path, name: str, **befalls: int) -> Job:
    return Job(str(scratch / "base"), str(scratch / name), {"token_budget": 512}, **befalls)


def test_out_of_memory_halves_the_budget_and_goes_on_with_the_same_batches(scratch: Path) -> None:
    """Rows of more than 200 tokens do not fit: 512 becomes 256, then 128, from the newest resume state each time."""
    asked = job(scratch, "memory", oom_over=200)
    saving = replace(asked, execution=asked.execution | {"save_every_steps": 2})
    short = run(saving)[0]
    assert not short.error, short.log
    plain = run(job(scratch, "plenty"))[0]
    assert [line["to"] for line in budget.history(Path(asked.folder))] == [256, 128]
    assert "halved from 512 to 256" in short.log
    steps = {line["step"]: line for line in short.metrics}  # those after the resume state are done again
    assert sorted(steps) == list(range(1, STEPS + 1))
    assert {line["token_budget"] for step, line in steps.items() if step > 3} == {128}
    for line in plain.metrics:
        ours = steps[line["step"]]
        assert ours["examples_by_source"] == line["examples_by_source"]
        assert ours["supervised_tokens"] == line["supervised_tokens"]
        assert ours["loss"] == pytest.approx(line["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(line["grad_norm"], abs=1e-5)


def test_of_several_ranks_each_stops_and_the_next_start_takes_half(scratch: Path) -> None:
    """A rank cannot reach the others, who wait for it inside a collective: its launcher ends them."""
    asked = job(scratch, "memory-2", oom_over=120)
    first = run(asked, 2)
    assert "Interrupted" in [outcome.error for outcome in first], first[0].log
    assert budget.history(Path(asked.folder))[0]["to"] == 256
    (out,) = {outcome.message for outcome in first if outcome.error == "Interrupted"}
    assert "half the token budget. Launch again" in out


def test_rows_that_cannot_be_shorter_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"step 3: out of GPU memory with rows of 100 tokens.*deepspeed=zero3_offload"):
        budget.halve(tmp_path, 3, 100, 100)
    budget.halve(tmp_path, 3, 150, 100)
    with (tmp_path / budget.RECORD).open("a") as file:
        file.write('{"to": ')
    assert [line["to"] for line in budget.history(tmp_path)] == [100]
    for configured, expected in ((0, 100), (80, 80), (300, 100)):
        assert budget.at_start(configured, tmp_path) == expected
    assert budget.at_start(0, tmp_path / "absent") == 0


@given(
    base=st.floats(1e9, 6e10),
    a_token=st.floats(1e4, 1e7),
    longest=st.integers(2, 4096),
    times=st.integers(1, 16),
    capacity=st.floats(1e9, 1e11),
)
def test_the_budget_that_is_found_fits(base: float, a_token: float, longest: int, times: int, capacity: float) -> None:
    """Where memory is a line, the budget uses what there is and no more; the longest example must fit anyway."""
    peaks = [base + a_token * (longest // 2), base + a_token * longest]
    found = budget.fitting(peaks, longest, longest * times, capacity)
    assert longest <= found <= longest * times
    assert found == longest or base + a_token * found <= capacity * 1.001
    assert found == longest * times or base + a_token * (found + 2) >= capacity * 0.999


def probed(base: str) -> str:
    """What differs after a probe: nothing of it may reach the first step."""
    import torch
    from training import examples

    from sft_sweeps.train import loss, ranks
    from sft_sweeps.train.engine import TrainEngine, prepare_process
    from sft_sweeps.train.steps import plan_batch

    execution = TrainExecution(token_budget=100, whole_parameters=0)
    prepare_process(execution)
    found = []
    with ranks.process_group(1):
        for probes in ((), (40, 80)):
            engine = TrainEngine(Path(base), RECIPE, execution)
            for tokens in probes:
                engine.probe(tokens)
            rows = plan_batch(examples(16), RECIPE, 1, execution.token_budget).of_rank(0)
            norm = engine.step([loss.to_bin(*row, engine.device) for row in rows], 1e-3)[1]
            found.append((norm, {name: tensor.clone() for name, tensor in engine.full_weights()}))
            engine.close()
    (norm, weights), (other_norm, others) = found
    same = all(torch.equal(weights[name], others[name]) for name in weights)
    return "" if same and norm == other_norm else f"{norm} {other_norm} {same}"


def test_nothing_remains_of_a_probe(scratch: Path) -> None:
    assert in_child(probed, str(scratch / "base")) == ""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_no_number_stops_before_the_weights(scratch: Path, processes: int) -> None:
    """With the step, its examples, and a resume state of before, from which the stage goes on unharmed."""
    asked = job(scratch, f"spoilt-{processes}", spoil_at=7)
    spoilt = run(asked, processes)
    assert [outcome.error for outcome in spoilt] == ["RunError"] * processes, spoilt[0].log
    assert spoilt[0].message.startswith("step 7: the loss is nan. The examples were: ")
    assert "step-00000006" in spoilt[0].message
    assert len(spoilt[0].message.partition("were: ")[2].split(". ")[0].split(", ")) == RECIPE.batch_size
    assert resume_states.newest(Path(asked.folder)) is not None
    healed = run(replace(asked, spoil_at=0), processes)[0]
    plain = run(replace(asked, spoil_at=0, folder=f"{asked.folder}-plain"), processes)[0]
    assert healed.metrics[0]["step"] == 7
    assert (healed.digest, healed.error) == (plain.digest, ""), healed.log


@given(cost=st.floats(0.001, 3600), every=st.floats(0.1, 3600), step=st.floats(0.01, 10))
def test_saving_by_time_takes_a_twentieth_at_most(cost: float, every: float, step: float) -> None:
    """Over ten saves, of steps of a length and saves of a length; and no seldomer than asked where that is cheap."""
    execution, trained, saves, since = TrainExecution(save_every_seconds=every), 0.0, 0, 0.0
    interval = max(every, cost / 0.05)
    while saves < 10:
        rest = max(step, interval - since - step)  # many steps at once, short of the moment
        since, trained = since + rest, trained + rest
        if save_due(execution, 1, since, cost):
            saves, since = saves + 1, 0.0
    assert saves * cost <= 0.0501 * trained
    assert trained <= 10 * (interval + 2 * step)
    assert not save_due(replace(execution, save_every_seconds=0.0), 1, 1e9, cost)
    assert save_due(replace(execution, save_every_seconds=0.0, save_every_steps=7), 14, 0.0, cost)


def test_a_loss_that_grows_stops_too(scratch: Path) -> None:
    """Long enough for a window before it and most of one after it."""
    asked = job(scratch, "diverges", diverge_at=18)
    outcome = run(replace(asked, recipe={"epochs": 12}))[0]
    assert outcome.error == "RunError", outcome.log
    step = outcome.metrics[-1]["step"] + 1
    assert 18 < step <= 34
    assert outcome.message.startswith(f"step {step}: training diverges, the mean loss of the last 16 steps is")
    state = json.loads(
        (Path(asked.folder) / resume_states.FOLDER / resume_states.name(step - 1) / resume_states.STATE).read_text()
    )
    assert state["step"] == step - 1
