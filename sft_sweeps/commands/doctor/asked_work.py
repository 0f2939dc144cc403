"""What a launch of the typed overrides would do, and what it would complain of: for the topics data, model, judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sft_sweeps.commands.doctor.finding import Level
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.launch import benchmark_files, points, preflight, sources
from sft_sweeps.launch.missing import MissingWork, missing_work
from sft_sweeps.terminal import LAUNCH


@dataclass(frozen=True)
class AskedWork:
    """The missing work of a launch of some overrides, planned as the launch would."""

    request: DoctorRequest

    @property
    def configs(self) -> Sequence[Config]:
        return [point.config for point in self.request.points]

    @cached_property
    def work(self) -> MissingWork:
        """RequestError with what the text of the overrides shows to be wrong."""
        points.check(self.request.points)
        return missing_work(points.planned(self.request.points), self.configs[0])

    @cached_property
    def fetched(self) -> dict[Path, SourceConfig]:
        """The files that a launch would fetch."""
        jobs, configs = self.work.jobs, self.configs
        return {**sources.to_download(jobs, configs), **benchmark_files.to_download(jobs, configs)}

    @cached_property
    def problems(self) -> list[str]:
        """What a launch says is wrong with what its jobs read, each with what to type."""
        fetched, entries = dict.fromkeys(self.fetched, ""), sources.entries(self.configs)
        return preflight.inputs(self.work.survey, self.work.jobs, fetched, entries)

    @property
    def what(self) -> str:
        """The launch that is meant, as it is typed."""
        return f"{LAUNCH}{self.request.typed}"

    @property
    def level(self) -> Level:
        """Of what is absent: a problem where somebody asked for that launch."""
        return "problem" if self.request.overrides else "warning"
