"""Tasks for GPUs, the machine that they share, and a schedule: when each runs, on how many GPUs of which nodes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Option:
    """A number of GPUs, and the hours that the task takes on them."""

    gpus: int
    hours: float

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.hours


@dataclass(frozen=True, slots=True)
class Task:
    """Work for GPUs: `parents` are the ids of the tasks that end before it."""

    id: str
    options: tuple[Option, ...]
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """So many GPUs, on nodes of `per_node`; the last node has what is left."""

    gpus: int
    per_node: int

    @property
    def nodes(self) -> list[int]:
        whole, rest = divmod(self.gpus, self.per_node)
        return [self.per_node] * whole + [rest] * bool(rest)

    def holds(self, gpus: int) -> bool:
        """Whether a task can have so many: of one node, or of several all."""
        if gpus <= self.per_node:
            return 1 <= gpus <= min(self.gpus, self.per_node)
        return gpus % self.per_node == 0 and gpus <= self.gpus // self.per_node * self.per_node


@dataclass(frozen=True, slots=True)
class Placed:
    """When a task runs, on how many GPUs of which nodes."""

    task: str
    gpus: int
    start: float
    end: float
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """All tasks in the order in which they start. Hours count from the start of the first."""

    placed: tuple[Placed, ...]

    @cached_property
    def hours(self) -> float:
        """Wall-clock, from start to end."""
        return max((one.end for one in self.placed), default=0.0)

    @cached_property
    def gpu_hours(self) -> float:
        return sum(one.gpus * (one.end - one.start) for one in self.placed)

    @cached_property
    def of(self) -> dict[str, Placed]:
        """By task."""
        return {one.task: one for one in self.placed}


class Pool:
    """The free GPUs of each node."""

    def __init__(self, nodes: list[int], per_node: int) -> None:
        self.free, self.per_node = nodes, per_node

    def fits(self, gpus: int) -> bool:
        if gpus <= self.per_node:
            return any(free >= gpus for free in self.free)
        return self.free.count(self.per_node) * self.per_node >= gpus

    def take(self, gpus: int) -> tuple[int, ...]:
        """The nodes that it comes from: the fullest that has room, or as many whole ones."""
        if gpus <= self.per_node:
            node = min((node for node, free in enumerate(self.free) if free >= gpus), key=self.free.__getitem__)
            self.free[node] -= gpus
            return (node,)
        whole = [node for node, free in enumerate(self.free) if free == self.per_node]
        nodes = tuple(whole[: gpus // self.per_node])
        for node in nodes:
            self.free[node] = 0
        return nodes

    def give(self, gpus: int, nodes: tuple[int, ...]) -> None:
        for node in nodes:
            self.free[node] += gpus // len(nodes)


def busy(schedule: Schedule) -> Iterator[tuple[float, int]]:
    """(hour, GPUs at work from then on), at every start and end."""
    changes: dict[float, int] = {}
    for one in schedule.placed:
        changes[one.start] = changes.get(one.start, 0) + one.gpus
        changes[one.end] = changes.get(one.end, 0) - one.gpus
    total = 0
    for hour in sorted(changes):
        total += changes[hour]
        yield hour, total
