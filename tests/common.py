"""What tests share that is no fixture: where the project lies, and sweeps composed in this process."""

import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import HydraContext, RunMode

from hydra_plugins.sft_sweeps_sweeper.sweeper import PointsSweeper
from sft_sweeps.config.grid import Point
from sft_sweeps.config.schema import register

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"  # large recorded data, which is no part of the project
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="NOT RUN: the large recorded data of ../shared is absent; small fixtures test the same"
)
Points = Callable[..., list[Point]]
Launch = Callable[..., subprocess.CompletedProcess[str]]


@cache
def sweeper(conf: Path = ROOT / "conf") -> PointsSweeper:
    """One for all tests of a conf/ folder: it composes each choice of groups once."""
    register()
    made = PointsSweeper()
    with initialize_config_dir(str(conf), version_base="1.3"):
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
