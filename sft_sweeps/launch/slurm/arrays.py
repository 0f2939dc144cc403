"""From jobs to arrays: how one level of the forest is submitted in few `sbatch` calls.

Every job has at most one parent. Jobs of equal resources whose parents are elements of one array become arrays whose
elements each wait for the parent of the same number (`aftercorr`): the first children of all parents, the second ones,
and so on. Where that would take more calls than one array for each parent (`afterok` on the element), it is the latter:
a stage with seven children and no siblings costs one call. A job whose parent is done waits for nothing.

Jobs that average several stages are one array, which waits for the end of all that any of them waits for: each of them
looks whether its own stages are there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Generic, TypeVar

from sft_sweeps.jobs.job import Job

Key = TypeVar("Key")  # what the jobs of an array have in common: their resources


@dataclass(frozen=True)
class Dependency:
    """What a job waits for: the success (or, not `ok`, the end) of a Slurm job, or of one element of an array."""

    job: str
    index: int = -1
    ok: bool = True

    @staticmethod
    def of(number: str, ok: bool = True) -> "Dependency":
        """From Slurm's text for a job, "123" or "123_4"."""
        job, _, index = number.partition("_")
        return Dependency(job, int(index) if index else -1, ok)

    def __str__(self) -> str:
        element = f"_{self.index}" if self.index >= 0 else ""
        return f"{'afterok' if self.ok else 'afterany'}:{self.job}{element}"


@dataclass(frozen=True)
class Array(Generic[Key]):
    """One `sbatch` call. A single job is submitted without an array; its index means nothing then."""

    key: Key
    jobs: tuple[Job, ...]
    indices: tuple[int, ...]
    dependency: str = ""

    @property
    def pairs(self) -> list[tuple[int, Job]]:
        """Its jobs with their indices."""
        return list(zip(self.indices, self.jobs, strict=True))

    def part(self, pairs: Sequence[tuple[int, Job]]) -> "Array[Key]":
        """The same with some of its jobs; one alone waits for its own parent, for no number of it fits any more."""
        dependency = self.dependency
        if len(pairs) == 1 and dependency.startswith("aftercorr:"):
            dependency = str(Dependency(dependency.removeprefix("aftercorr:"), pairs[0][0]))
        return Array(self.key, tuple(job for _, job in pairs), tuple(index for index, _ in pairs), dependency)


def arrays(level: Iterable[tuple[Job, Key, Dependency | None]], largest: int) -> list[Array[Key]]:
    """The calls that submit a level, none with an index of `largest` (Slurm's MaxArraySize) or more."""
    grouped: dict[tuple[Key, str, bool], dict[int, list[Job]]] = {}
    for job, key, after in level:
        group = (key, after.job, after.ok) if after else (key, "", True)
        grouped.setdefault(group, {}).setdefault(after.index if after else -1, []).append(job)
    calls: list[Array[Key]] = []
    for (key, parent, ok), children in grouped.items():
        calls += _dependent(key, parent, ok, children, largest) if parent else _numbered(key, children[-1], "", largest)
    return calls


def _dependent(
    key: Key, parent: str, ok: bool, children: Mapping[int, Sequence[Job]], largest: int
) -> Iterator[Array[Key]]:
    """The calls for the children of one array, by its elements' indices, or of one plain job (index -1)."""
    columns = max(map(len, children.values()))
    if ok and -1 not in children and columns < len(children):
        for column in zip_longest(*children.values()):
            pairs = [(index, job) for index, job in zip(children, column, strict=True) if job is not None]
            if len(pairs) > 1:
                yield Array(key, tuple(j for _, j in pairs), tuple(i for i, _ in pairs), f"aftercorr:{parent}")
            else:
                yield Array(key, (pairs[0][1],), (0,), str(Dependency(parent, pairs[0][0])))
        return
    for index, jobs in children.items():
        yield from _numbered(key, jobs, str(Dependency(parent, index, ok)), largest)


def _numbered(key: Key, jobs: Sequence[Job], dependency: str, largest: int) -> Iterator[Array[Key]]:
    """The calls for jobs under one dependency, numbered from 0; each call has at most `largest` of them."""
    for first in range(0, len(jobs), largest):
        piece = tuple(jobs[first : first + largest])
        yield Array(key, piece, tuple(range(len(piece))), dependency)


def together(level: Iterable[tuple[Job, Key, Sequence[Dependency]]], largest: int) -> list[Array[Key]]:
    """The calls that submit jobs of several parents."""
    grouped: dict[Key, list[tuple[Job, Sequence[Dependency]]]] = {}
    for job, key, after in level:
        grouped.setdefault(key, []).append((job, after))
    calls: list[Array[Key]] = []
    for key, jobs in grouped.items():
        numbers = ":".join(dict.fromkeys(one.job for _, after in jobs for one in after))
        calls += _numbered(key, [job for job, _ in jobs], f"afterany:{numbers}" if numbers else "", largest)
    return calls


def levels(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs by their distance from a job without a parent among them; parents come before children in `jobs`."""
    depth: dict[str, int] = {}
    by_depth: list[list[Job]] = []
    for job in jobs:
        depth[job.id] = max((depth.get(parent, -1) for parent in job.needs), default=-1) + 1
        if depth[job.id] == len(by_depth):
            by_depth.append([])
        by_depth[depth[job.id]].append(job)
    return by_depth
