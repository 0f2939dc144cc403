"""The Sweeper: composes every point of a sweep and hands them all over at once.

Hydra's own sweepers run a job for each point. Here the task function of `launch.py` gets the list of composed points.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from sft_sweeps.config import command_line, environment, grid, hydra_errors, new_sources, site
from sft_sweeps.config.compose import Composer
from sft_sweeps.config.entries import copied
from sft_sweeps.config.schema import Config, StudyConfig
from sft_sweeps.errors import RequestError, say_error, summary


@dataclass
class SweeperConf:
    """What `override hydra/sweeper: sft_sweeps` selects."""

    _target_: str = "hydra_plugins.sft_sweeps_sweeper.sweeper.PointsSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="sft_sweeps", node=SweeperConf, provider="sft_sweeps")


class Line(NamedTuple):
    """The overrides of one point, and the study that was typed."""

    overrides: list[str]
    study: str = ""


class PointsSweeper(Sweeper):
    """Studies and grids to points."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra with the configuration of the command line's unswept overrides."""
        environment.restrict()
        self.loader, self.task_function, self.config = hydra_context.config_loader, task_function, config
        self.composer = Composer(self.loader, config)
        self.told = cache(self.study_with_claims)

    def sweep(self, arguments: list[str]) -> Any:
        """Called by Hydra with the command line's overrides."""
        try:
            points = [self.point(line) for line in self.expand(grid.axes(arguments, self.loader))]
        except RequestError as error:
            say_error(error)
            raise SystemExit(error.exit_status) from None
        if broken := [(name, [_reason(error, name)]) for name, error in points if not isinstance(error, Config)]:
            good = ((name, list[str]()) for name, config in points if isinstance(config, Config))
            say_error(summary([*broken, *good]))
            raise SystemExit(RequestError.exit_status)
        return self.task_function([grid.Point(name, config) for name, config in points])  # type: ignore[arg-type]

    def expand(self, command: grid.Axes) -> list[Line]:
        """Every point of every study named (of the command line alone without one)."""
        extra = {}
        if len(command.get("grid", [])) > 1:
            raise RequestError(f"grid={','.join(command['grid'])}: one grid at a time, or name the values themselves")
        if "grid" in command:
            line = self.composer.config([f"grid={command['grid'][0]}"]).grid.axes
            extra = grid.line_axes(line, "grid", self.loader)
        axes = {**extra, **{key: values for key, values in command.items() if key not in ("study", "grid")}}
        studies = command.get("study")
        if not studies:
            return [Line(overrides) for overrides in grid.expand([{}], axes, "the command line")]
        return [
            Line(overrides, study)
            for study in studies
            for overrides in grid.expand(self.restrictable(self.rows(study), axes), axes, f"study={study}")
        ]

    def rows(self, study: str, within: tuple[str, ...] = ()) -> list[grid.Axes]:
        """The lines of a study's grid, each with the study whose file says the rest; another study's in its place."""
        where = f"study={study}"
        if study in within:
            raise RequestError(f"{where} has its own rows: {' -> '.join((*within, study))}")
        lines = []
        for text in self.composed_study(study, within).grid or [""]:
            line = grid.line_axes(text, where, self.loader)
            others = line.pop("study", [])
            lines += [] if others else [{"study": [study], **line}]
            for other in others:
                rows = self.rows(other, (*within, study))
                lines += grid.joined(self.restrictable(rows, line), line, f"{where}: study={other}")
        return lines

    def study_with_claims(self, study: str, *own: str) -> StudyConfig:
        """What is told of a study whose grid names others, with values of its own: their hypotheses are its too."""
        config = self.composer.config([f"study={study}", *own]).study
        axes = [grid.line_axes(line, study, self.loader) for line in config.grid]
        others = [other for line in axes for other in line.get("study", [])]
        config.hypotheses += [claim for other in others for claim in self.told(other).hypotheses]
        return config

    def composed_study(self, study: str, within: tuple[str, ...] = ()) -> StudyConfig:
        """What a study's file says; RequestError where another study names one that there is not."""
        try:
            return self.composer.config([f"study={study}"]).study
        except (HydraException, OmegaConfBaseException) as error:
            if not within:
                raise
            raise RequestError(f"study={within[-1]}, in its grid: {_reason(error, f'study={study}')}") from error

    def restrictable(self, lines: list[grid.Axes], command: grid.Axes) -> list[grid.Axes]:
        """The lines, each with the values that it has by default of those axes of the command line that any sweeps."""
        swept = {key for line in lines for key in line}
        return [self.with_defaults(line, swept & set(command)) for line in lines]

    def with_defaults(self, line: grid.Axes, keys: set[str]) -> grid.Axes:
        """The line with the values that it has by default of axes that the command line restricts."""
        lacking = sorted(keys - set(line))
        if not lacking:
            return line
        overrides = [f"{key}={values[0]}" for key, values in line.items()]
        try:
            config, choices = self.composer.config(overrides), self.composer.choices(overrides)
        except (HydraException, OmegaConfBaseException, RequestError):
            return line  # its points say what is wrong with it
        defaults = {key: choices[key] if key in choices else _select(config, key) for key in lacking}
        return {**line, **{key: [str(value)] for key, value in defaults.items() if value is not None}}

    def point(self, line: Line) -> tuple[str, Config | Exception]:
        """One point's name and its configuration, or what is wrong with it."""
        overrides = new_sources.with_files(line.overrides, _folders())
        name = " ".join(o for o in overrides if not o.startswith(("action=", "plan.")))
        try:
            config = self.composer.config(overrides)
            if line.study and f"study={line.study}" not in overrides:  # another study's row
                own = (override for override in overrides if override.startswith("study."))
                config.study = copied(self.told(line.study, *own))
            return name, config
        except (HydraException, OmegaConfBaseException, RequestError) as error:
            return name, error


def _select(config: Any, key: str) -> Any:
    """The value at a key; None where there is none."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else getattr(config, part, None)
    return config


def _reason(error: Exception, name: str) -> str:
    """What is wrong with a point: our own words for it, or what Hydra's error means."""
    if isinstance(error, RequestError):
        return str(error)
    return hydra_errors.explain(error, name.split(), _folders())


def _folders() -> list[Path]:
    """Those of the user's files, and this project's."""
    return [*command_line.user_folders, site.CONF]
