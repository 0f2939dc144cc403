"""What this machine lacks to run jobs itself: GPUs, and vLLM where it is said to be."""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from values import model, request, source

from sft_sweeps.execution import AnswerExecution, Executions
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.launch import preflight as everywhere
from sft_sweeps.launch.local import preflight
from sft_sweeps.launch.local.preflight import problems
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.spec.data import Component
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import survey


def generated(**changes: Any) -> Plan:
    """A plan that needs no file at all."""
    of = source("mini_math", rows=50, content="generated:x", rows_from="generated")
    return build([("a", request((Component(of, Fraction(1), seed=0),), **changes))])


def jobs(plan: Plan, store: Store, python: str = "") -> list[Job]:
    return missing(survey(plan, store), Executions(answer=AnswerExecution(engine_python=python)))


@pytest.mark.parametrize(("have", "wanted", "wrong"), [(0, 8, True), (4, 8, True), (8, 8, False), (0, 0, False)])
def test_gpus(have: int, wanted: int, wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "gpus_here", lambda: have)
    texts = list(problems(jobs(generated(base=model("big", gpus=wanted)), Store(tmp_path))))
    assert len(texts) == wrong
    for text in texts:
        assert text.startswith(f"model=big needs 8 GPUs, this machine has {have or 'none'}. ")
        assert "action=plan" in text
        assert "model=mini" in text


def test_vllm_is_looked_for_where_it_is_said_to_be(tmp_path: Path) -> None:
    """In an environment of its own: one with another version, one without, none at all. A cluster's nodes say it."""
    other, none = tmp_path / "other", tmp_path / "none"
    for path, prints in ((other, "0.32.0"), (none, "")):
        path.write_text(f"#!/bin/sh\necho {prints}\n")
        path.chmod(0o755)
    plan, store = generated(engine=Engine("vllm", "5", "fp32")), Store(tmp_path / "s")
    for python, says in (
        (other, f"evaluate.engine_version=5: {other} has vLLM 0.32.0; type evaluate.engine_version=0"),
        (none, f"evaluate.engine=vllm: {none} has no vLLM. It wants an environment of its own"),
        (tmp_path / "absent", f"evaluate.engine_python={tmp_path / 'absent'} cannot be run"),
        ("", f"evaluate.engine=vllm: {sys.executable} has no vLLM."),
    ):
        wanted = jobs(plan, store, str(python))
        (text,) = problems(wanted)
        assert text.startswith(says)
        assert everywhere.problems(survey(plan, store), wanted) == []
    assert list(problems(jobs(generated(), store))) == []
