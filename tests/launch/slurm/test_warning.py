"""How long before its time limit a training job is warned."""

from dataclasses import replace
from pathlib import Path

import values
from outcomes import finish

from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.slurm.warning import warning_seconds
from sft_sweeps.plan.build import build
from sft_sweeps.spec.training import Shape
from sft_sweeps.store import resume_states
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey

LLAMA33B = Shape(6656, 17920, 60, 52, 52, 32000, 2048)


def test_the_warning_follows_what_saving_took(tmp_path: Path) -> None:
    """Estimated, then from a finished stage of the model, then from the stage's own states; never below the setting."""
    store = Store(tmp_path / "store")
    base = values.model("33b", weights="hub:org/name@1", shape=LLAMA33B)
    plan = build([(str(n), values.request(base=base, recipe=replace(values.RECIPE, seed=n))) for n in (0, 1)])
    jobs = [Job("train", "/s", stage, TrainExecution()) for stage in plan.stages]
    estimate = warning_seconds(jobs, survey(plan, store), 120)
    assert set(estimate.values()) == {781}  # 390 GB at 1 GB/s, twice
    finish(store, plan.stages[0], save_seconds=100.0)
    fresh = Store(store.root)
    measured = warning_seconds(jobs, survey(plan, fresh), 120)
    assert measured[jobs[1].id] == 200
    state = store.folder(plan.stages[1]) / resume_states.FOLDER / resume_states.name(7)
    state.mkdir(parents=True)
    text = (
        '{"step": 7, "processes": 8, "zero_stage": 3, "token_budget": 1, "batches": 1, "files": {}, "seconds": 300.5}'
    )
    (state / resume_states.STATE).write_text(text)
    own = warning_seconds(jobs, survey(plan, fresh), 120)
    assert (own[jobs[0].id], own[jobs[1].id]) == (200, 601)
    assert warning_seconds(jobs, survey(plan, fresh), 3600)[jobs[1].id] == 3600
