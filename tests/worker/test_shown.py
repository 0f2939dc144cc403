"""What a cluster's jobs show when they have scored: their own model, and all of it after the last one."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from made_sweeps import made
from values import RECIPE, benchmark, mixed, request

from sft_sweeps.execution import AnswerExecution, Isolation, Tracking
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report.page import evidence
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep
from sft_sweeps.tracking import remembered, trackers
from sft_sweeps.tracking.base import Attempt, Outcome
from sft_sweeps.worker import shown

BENCHMARKS = (benchmark(ability="math"),)


def plan() -> Plan:
    asked = [request(mixed(), name, benchmarks=BENCHMARKS) for name in ("sequential", "multi_task")]
    return build([(f"strategy={one.strategy}", one) for one in asked])


def sweep(root: Path, scored: int) -> Sweep:
    """So many of the two models are scored."""
    ids = [score.id for score in plan().scores][:scored]
    found = made(root, plan(), lambda one: [True, False] if one.id in ids else [])
    remembered.remember(found.folder, Tracking("wandb", "table1"))
    return found


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []

    def publish(runs: Sequence[Attempt]) -> Iterator[Outcome]:
        for run in runs:
            told.append(run.job_type)
            yield Outcome(run.identity, "shown")

    monkeypatch.setattr(trackers, "publish", publish)
    return told


def job(root: Path, kind: str = "score") -> Job:
    one = plan().generations[0]
    execution = Isolation() if kind == "score" else AnswerExecution()
    return Job(kind, str(root), one.subject, execution, (one,))


def test_a_job_on_the_way_shows_its_own_model_where_somebody_may_look(
    tmp_path: Path, published: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, read, real = sweep(tmp_path, scored=1), list[str](), evidence.read_more
    monkeypatch.setattr(evidence, "read_more", lambda of, surveyed: read.append(of.name) or real(of, surveyed))
    shown.after(job(tmp_path), found)
    assert published == []
    assert read == [], "all scores of a sweep were read, and compared, to show none"
    monkeypatch.setattr(trackers, "live", lambda _: True)
    shown.after(job(tmp_path), found)
    assert published == ["generate", "score"]
    assert read == [found.name]


def test_a_job_on_the_way_asks_for_few_of_a_sweeps_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a thousand jobs asked for every one. Half of 60 are missing: 30 of them unseen are no accident."""
    asked = [request(mixed(), recipe=replace(RECIPE, seed=seed), benchmarks=BENCHMARKS) for seed in range(60)]
    many = build([(f"train.seed={one.recipe.seed}", one) for one in asked])
    ids = [score.id for score in many.scores]
    found = made(tmp_path, many, lambda one: [True] if ids.index(one.id) < 30 else [])
    remembered.remember(found.folder, Tracking("wandb", "table1"))
    read, real = list[str](), Store.record
    monkeypatch.setattr(Store, "record", lambda store, item: read.append(item.id) or real(store, item))
    shown.after(job(tmp_path), found)
    assert 1 <= len(read) <= 30


def test_the_job_that_scores_last_shows_everything(tmp_path: Path, published: list[str]) -> None:
    found = sweep(tmp_path, scored=2)
    shown.after(job(tmp_path, "generate"), found)
    assert published == []
    shown.after(job(tmp_path), found)
    assert sorted(published) == ["generate", "generate", "report", "score", "score"]


def test_what_goes_wrong_is_no_jobs_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = sweep(tmp_path, scored=2)

    def publish(_: Sequence[Attempt]) -> Iterator[Outcome]:
        raise OSError("no space")

    monkeypatch.setattr(trackers, "publish", publish)
    shown.after(job(tmp_path), found)
    (found.folder / remembered.FILE).unlink()
    shown.after(job(tmp_path), found)
