"""What `sft-sweeps doctor` was asked, and the topics that it knows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sft_sweeps.commands.doctor.finding import Finding

if TYPE_CHECKING:
    from sft_sweeps.config.cluster_schema import ClusterConfig
    from sft_sweeps.config.grid import Point


@dataclass(frozen=True)
class DoctorRequest:
    """`named`: this topic alone was asked for, so what it needs is missed; else its absence is told and no problem.

    `points` are those of the overrides that were typed, or of a launch without any.
    """

    output_dir: Path
    cluster: "ClusterConfig"
    points: "tuple[Point, ...]" = ()
    overrides: tuple[str, ...] = ()
    named: bool = True
    on_node: bool = False
    deep: bool = False
    store_named: bool = True  # the store was typed, and is not the one that is looked into by itself

    @property
    def typed(self) -> str:
        """The overrides as they are typed behind a command; a blank before them."""
        return "".join(f" {one}" for one in self.overrides)


class Ask(Protocol):
    """Asks one topic, each finding as soon as it is known."""

    def __call__(self, request: DoctorRequest, /) -> Iterator[Finding]: ...


@dataclass(frozen=True)
class Topic:
    """One of `doctor`'s topics. `seconds` is how long it may take: a mount or server that hangs must not hang it."""

    about: str
    ask: Ask
    seconds: float
    composed: bool = field(default=False)  # it looks at what a launch of some overrides would do
