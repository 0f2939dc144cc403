"""The Sweeper: composes every point of a sweep and hands them all over at once.

Hydra's own sweepers run a job for each point. Here the task function of `launch.py` gets the list of composed points.
Points are composed once for each distinct choice of groups; plain values are set on a copy.
"""

import copy
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sft_sweeps.config import command_line, environment, grid, hydra_errors, site
from sft_sweeps.config.checks import unknown_keys
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError, say_error, summary


@dataclass
class SweeperConf:
    """What `override hydra/sweeper: sft_sweeps` selects."""

    _target_: str = "hydra_plugins.sft_sweeps_sweeper.sweeper.PointsSweeper"


ConfigStore.instance().store(group="hydra/sweeper", name="sft_sweeps", node=SweeperConf, provider="sft_sweeps")


class PointsSweeper(Sweeper):
    """Studies and grids to points."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra with the configuration of the command line's unswept overrides."""
        environment.restrict()
        self.loader: Any = hydra_context.config_loader
        self.task_function, self.config = task_function, config
        self.composed: dict[tuple[str, ...], DictConfig] = {}
        self.choices: dict[tuple[str, ...], dict[str, str]] = {}
        self.resolved: dict[tuple[str, ...], DictConfig] = {}
        self.interpolated: dict[tuple[str, ...], set[str]] = {}  # parts that others refer to: ${part.key}
        self.parts: dict[tuple[tuple[str, ...], str, tuple[str, ...]], Any] = {}
        self.parse = cache(OverridesParser.create().parse_override)

    def sweep(self, arguments: list[str]) -> Any:
        """Called by Hydra with the command line's overrides."""
        try:
            points = [self.point(overrides) for overrides in self.expand(grid.axes(arguments, self.loader))]
        except RequestError as error:
            say_error(error)
            raise SystemExit(error.exit_status) from None
        if broken := [(name, [_reason(error, name)]) for name, error in points if not isinstance(error, Config)]:
            good = ((name, list[str]()) for name, config in points if isinstance(config, Config))
            say_error(summary([*broken, *good]))
            raise SystemExit(RequestError.exit_status)
        return self.task_function([grid.Point(name, config) for name, config in points])  # type: ignore[arg-type]

    def expand(self, command: grid.Axes) -> list[list[str]]:
        """The overrides of every point of every study named (of the command line alone without one)."""
        extra = {}
        if len(command.get("grid", [])) > 1:
            raise RequestError(f"grid={','.join(command['grid'])}: one grid at a time, or name the values themselves")
        if "grid" in command:
            extra = grid.line_axes(self.compose([f"grid={command['grid'][0]}"]).grid.axes, "grid", self.loader)
        axes = {**extra, **{key: values for key, values in command.items() if key not in ("study", "grid")}}
        studies = command.get("study")
        if not studies:
            return grid.expand([{}], axes, "the command line")
        points = []
        for study in studies:
            where = f"study={study}"
            lines = [grid.line_axes(line, where, self.loader) for line in self.compose([where]).study.grid]
            swept = {key for line in lines for key in line}
            lines = [self.with_defaults(line, swept & set(axes), where) for line in lines]
            expanded = grid.expand(lines or [{}], axes, where)
            points += [[f"study={study}", *overrides] for overrides in expanded]
        return points

    def with_defaults(self, line: grid.Axes, keys: set[str], where: str) -> grid.Axes:
        """The line with the values that it has by default of axes that the command line restricts."""
        lacking = sorted(keys - set(line))
        if not lacking:
            return line
        try:
            overrides = [where, *(f"{key}={values[0]}" for key, values in line.items())]
            config, choices = self.compose(overrides), self.choices[self.groups(overrides)]
        except (HydraException, OmegaConfBaseException):
            return line  # its points say what is wrong with it
        defaults = {key: choices[key] if key in choices else OmegaConf.select(config, key) for key in lacking}
        return {**line, **{key: [str(value)] for key, value in defaults.items() if value is not None}}

    def point(self, overrides: list[str]) -> tuple[str, Config | Exception]:
        """One point's name and its configuration, or what is wrong with it."""
        name = " ".join(o for o in overrides if not o.startswith(("action=", "plan.")))
        try:
            if config := self.assembled(overrides):
                return name, config
            config_node = self.compose(overrides)
            added = any(o.startswith("+") for o in overrides)  # only these get past the schema
            if added and (unknown := unknown_keys(config_node, Config)):
                return name, RequestError("\n".join(unknown))
            return name, OmegaConf.to_object(config_node)  # type: ignore[return-value]
        except (HydraException, OmegaConfBaseException) as error:
            return name, error

    def assembled(self, overrides: list[str]) -> Config | None:
        """The configuration from its top-level entries, each made once for all points that set the same in it.

        Copying and converting a whole one takes 15 ms, a part of a thousand points is one of a few. None where entries
        refer to one another, or where anything is wrong: `compose` then raises what Hydra says of it.
        """
        if any(o.startswith(("+", "~")) or "$" in o for o in overrides):
            return None
        groups = self.groups(overrides)
        own: dict[str, list[str]] = {}
        for override in overrides:
            if override not in groups:
                own.setdefault(self.parse(override).key_or_group.partition(".")[0], []).append(override)
        try:
            base = self.of_groups(groups, overrides)
            if own.keys() & self.interpolated[groups] or not own.keys() <= base.keys():
                return None
            return Config(**{str(key): self.part(groups, str(key), tuple(own.get(str(key), ()))) for key in base})
        except (HydraException, OmegaConfBaseException):
            return None

    def part(self, groups: tuple[str, ...], key: str, overrides: tuple[str, ...]) -> Any:
        """One top-level entry of the configuration of some groups, with values set in it."""
        part = (groups, key, overrides)
        if part not in self.parts:
            entry = OmegaConf.masked_copy(self.resolved[groups], key)
            self.loader._apply_overrides_to_config([self.parse(override) for override in overrides], entry)
            value = entry[key]
            self.parts[part] = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
        return copy.deepcopy(self.parts[part])  # points share nothing

    def compose(self, overrides: list[str]) -> DictConfig:
        """The configuration of some overrides; group choices are composed once and copied."""
        groups = self.groups(overrides)
        config = copy.deepcopy(self.of_groups(groups, overrides))
        values = [self.parse(override) for override in overrides if override not in groups]
        self.loader._apply_overrides_to_config(values, config)
        return config

    def of_groups(self, groups: tuple[str, ...], overrides: list[str]) -> DictConfig:
        """The configuration of group choices alone; `overrides` are named where they are wrong."""
        if groups not in self.composed:
            try:
                config = self.loader.load_sweep_config(self.config, list(groups))
            except ValueError as error:  # Hydra's own words for model=1, which it reports with a traceback
                raise RequestError(f"{' '.join(overrides)}: {error}") from error
            self.choices[groups] = dict(config.hydra.runtime.choices)
            with open_dict(config):
                config.pop("hydra")
            self.composed[groups] = config
            self.interpolated[groups] = set(re.findall(r"\$\{(\w+)", OmegaConf.to_yaml(config)))
            self.resolved[groups] = copy.deepcopy(config)
            OmegaConf.resolve(self.resolved[groups])
        return self.composed[groups]

    def groups(self, overrides: list[str]) -> tuple[str, ...]:
        """Those of the overrides that choose files."""
        parsed = {override: self.parse(override) for override in overrides}
        exists = self.loader.repository.group_exists
        return tuple(o for o in overrides if parsed[o].is_delete() or exists(parsed[o].key_or_group))


def _reason(error: Exception, name: str) -> str:
    """What is wrong with a point: our own words for it, or what Hydra's error means."""
    if isinstance(error, RequestError):
        return str(error)
    return hydra_errors.explain(error, name.split(), [*command_line.user_folders, site.CONF])
