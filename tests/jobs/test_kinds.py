"""Each kind of job is described once: what names kinds elsewhere has the same ones, and a job fits its kind."""

from pathlib import Path

import pytest
from common import ROOT
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from values import stage

from sft_sweeps.config.schema import ClusterConfig
from sft_sweeps.identity import plain, revive
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.worker.dispatch import WORK

EXECUTIONS = {kind.execution for kind in KINDS.values()}


def test_every_kind_has_work_and_resources() -> None:
    assert len(KINDS) >= 6
    assert {name: kind.name for name, kind in KINDS.items()} == {name: name for name in KINDS}
    assert set(WORK) == set(KINDS)
    assert list(ClusterConfig().kinds) == list(KINDS)


@pytest.mark.parametrize("path", sorted((ROOT / "conf" / "cluster").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_cluster_names_no_other_kinds(path: Path) -> None:
    assert set(OmegaConf.load(path).get("kinds", {})) <= set(KINDS)


@given(kind=st.sampled_from(list(KINDS)), execution=st.sampled_from(sorted(EXECUTIONS, key=str)))
def test_a_job_runs_by_what_its_kind_says(kind: str, execution: type) -> None:
    """Also a job that is read from a file: nothing of another kind passes for what it needs."""
    if execution is KINDS[kind].execution:
        job = Job(kind, "/store", stage(), execution())
        assert revive(Job, plain(job)) == job
        return
    with pytest.raises(ValueError, match=f"a job to {kind} runs by "):
        Job(kind, "/store", stage(), execution())
    frozen = plain(Job(kind, "/store", stage(), KINDS[kind].execution()))
    with pytest.raises(ValueError, match=f"a job to {kind} runs by "):
        revive(Job, frozen | {"execution": plain(execution())})


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="brew is no kind of job; valid: encode, prepare"):
        Job("brew", "/store", stage())


def test_jobs_that_read_a_model_claim_a_folder_of_their_own() -> None:
    """So that several can work on one model at a time, and none beside the one that makes it."""
    folder = Path("subject")
    claimed = [kind.claim_folder(folder) for kind in KINDS.values() if not kind.makes_model]
    assert len(set(claimed)) == len(claimed)
    assert {path.parent for path in claimed} == {folder}
    assert {kind.claim_folder(folder) for kind in KINDS.values() if kind.makes_model} == {folder}
