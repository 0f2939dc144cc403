"""What several tests need: deterministic property tests, sweeps composed in this process, `launch.py` as a command."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode
from hypothesis import settings

from hydra_plugins.sft_sweeps_sweeper.sweeper import PointsSweeper
from sft_sweeps.config.grid import Point
from sft_sweeps.config.schema import register

pytest_plugins = ["slurm_cluster"]  # the fixtures `cluster` and `accounted_cluster`

ROOT = Path(__file__).parents[1]
Points = Callable[..., list[Point]]
Launch = Callable[..., subprocess.CompletedProcess[str]]

settings.register_profile("deterministic", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("deterministic")


@cache
def sweeper() -> PointsSweeper:
    """One for all tests: it composes each choice of groups once."""
    register()
    made = PointsSweeper()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=None)  # type: ignore[arg-type]
        made.setup(hydra_context=context, task_function=lambda points: points, config=config)
    return made


@cache
def composed(*overrides: str) -> list[Point]:
    """The points of a command line: the code that `launch.py` runs, without a new process."""
    return list(sweeper().sweep(list(overrides)))


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
        line = [sys.executable, str(script), *arguments]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    return command
