"""What several tests need: deterministic property tests, sweeps composed in this process, `launch.py` as a command."""

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT, Launch, Points, composed
from hypothesis import settings

pytest_plugins = ["slurm_cluster"]  # the fixtures `cluster` and `accounted_cluster`

settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("fast", settings.get_profile("deterministic"), max_examples=15)  # `make fast`
settings.load_profile("deterministic")


HEAVY = {"launch", "cluster", "accounted_cluster", "points"}  # fixtures that start a process, or compose with Hydra
# The files that take longest, of those that `make slow` runs and then of the quick ones, the longest first: each
# process is given whole files in this order, and a long one that begins last would have the others wait.
LONGEST = (
    "launch/slurm/test_sweeps.py",
    "test_docs.py",
    "launch/slurm/test_bad_days.py",
    "test_pipeline.py",
    "benchmarks/test_mt_bench.py",
    "train/test_resume.py",
    "train/test_engine.py",
    "train/test_stage.py",
    "commands/test_main.py",
    "launch/test_inspect.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts by LONGEST. Marks `heavy` what uses such a fixture or starts a process by its own text, for `make fast`."""
    place = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))
    for item in items:
        if isinstance(item, pytest.Function) and (
            HEAVY & set(item.fixturenames) or "subprocess" in inspect.getsource(item.function)
        ):
            item.add_marker(pytest.mark.heavy)


@pytest.fixture(scope="session")
def points() -> Points:
    return composed


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    """`python launch.py ARGUMENTS` in an empty folder, as a user without network or data runs it."""

    def command(*arguments: str, conf: Path | None = None) -> subprocess.CompletedProcess[str]:
        script = ROOT / "launch.py" if conf is None else conf.parent / "launch.py"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HYDRA_")}
        environment |= {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        # Trying a training step takes longer than planning: only tests that ask for it do.
        measure = [] if any(one.startswith("plan.measure=") for one in arguments) else ["plan.measure=false"]
        line = [sys.executable, str(script), *arguments, *measure]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return command
