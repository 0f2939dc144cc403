"""A sweep packed into `plan.gpus` GPUs: the GPUs of each job and an order, by plan/packing.py and plan/scaling.py.

Training chooses among numbers of GPUs; what answers has the GPUs with which it is submitted. Other jobs need none, and
their time is not in it. A launch with `plan.gpus` submits the numbers that are chosen; when a job starts, Slurm says.
"""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sft_sweeps.config.plan_checks import deadline_hours
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.answering import replica_gpus, replicas
from sft_sweeps.launch.settings import executions_of
from sft_sweeps.plan import cost, packing, scaling
from sft_sweeps.plan.packing import Packing
from sft_sweeps.plan.scaling import Cluster, Way
from sft_sweeps.plan.schedule import Machine, Option, Schedule, Task
from sft_sweeps.store.survey import Survey

LARGER = (2, 4, 8, 16)  # times plan.gpus, of which the first is named that keeps a deadline


@dataclass(frozen=True)
class Packed:
    """The packing, the schedule that the deadline picks of it (None: none keeps it), and how each stage would run."""

    packing: Packing
    chosen: Schedule | None
    deadline: float | None
    ways: Mapping[str, Mapping[int, Way]]  # by the id of a training job and its number of GPUs
    corrections: Mapping[str, tuple[float, int]]  # by model: what finished stages took over the estimate, their number
    refusal: str = ""

    @property
    def shown(self) -> Schedule:
        """The chosen schedule; where none keeps the deadline, the fastest."""
        return self.chosen or self.packing.front[0]

    def applied(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs, each stage on the GPUs that the schedule gives it; RequestError where none keeps the deadline."""
        if self.refusal:
            raise RequestError(self.refusal)
        placed = self.shown.of
        return [
            replace(job, execution=self.ways[job.id][placed[job.id].gpus].execution) if job.id in self.ways else job
            for job in jobs
        ]


def packed(jobs: Sequence[Job], survey: Survey, config: Config) -> Packed | None:
    """The jobs that use GPUs, packed; None where `plan.gpus` asks for nothing, or no job uses any."""
    working = [job for job in jobs if job.gpus]
    if not config.plan.gpus or not working:
        return None
    asked = _Asked(working, jobs, survey, config)
    made, ways = asked.packing(config.plan.gpus)
    deadline = deadline_hours(config.plan.deadline)
    chosen = made.within(deadline)
    refusal = "" if chosen or deadline is None else _refusal(asked, made, deadline)
    return Packed(made, chosen, deadline, ways, asked.corrections, refusal)


class _Asked:
    """The jobs that use GPUs, and what is known of how long each takes."""

    def __init__(self, working: Sequence[Job], jobs: Sequence[Job], survey: Survey, config: Config) -> None:
        self.jobs, self.survey, self.config = working, survey, config
        self.parents = _parents(working, jobs)
        cluster = config.cluster
        peak = cost.peak_flops(cluster.gpu_type.upper(), "bf16") or cost.A100_FLOPS
        self.cluster = Cluster(peak, cluster.gpu_memory_gb, cluster.gpus_per_node, config.plan.network_gb * 1e9)
        self.train = executions_of(config).train
        self.corrections = _corrections(survey, self.train, self.cluster)

    def packing(self, gpus: int) -> tuple[Packing, dict[str, dict[int, Way]]]:
        """Of all jobs into so many GPUs; RequestError where a job fits on none."""
        machine = Machine(gpus, self.cluster.per_node)
        ways = {job.id: self._ways(job, machine) for job in self.jobs if job.stage}
        if problems := dict.fromkeys(self._nowhere(job, machine) for job in self.jobs if not ways.get(job.id, {0: 0})):
            raise RequestError("\n".join(problems))
        tasks = [Task(job.id, self._options(job, ways), self.parents[job.id]) for job in self.jobs]
        if large := next((t for t in tasks if not any(machine.holds(o.gpus) for o in t.options)), None):
            needed = large.options[0].gpus
            raise RequestError(f"plan.gpus={gpus}: {large.id} needs {needed} GPUs of one node; type plan.gpus={needed}")
        return packing.pack(tasks, machine, {job.id: job.gpus for job in self.jobs if job.stage}), ways

    def _ways(self, job: Job, machine: Machine) -> dict[int, Way]:
        stage, recompute = job.stage, self.config.deepspeed.recompute
        assert stage is not None
        left = max(0, stage.steps - self.survey.states[stage.id].step)
        found = scaling.ways(stage, self.train, self.cluster, machine.gpus, recompute=recompute, steps=left)
        factor, _ = self.corrections.get(stage.model.name, (1.0, 0))
        return {way.gpus: replace(way, hours=way.hours * factor) for way in found if machine.holds(way.gpus)}

    def _options(self, job: Job, ways: Mapping[str, Mapping[int, Way]]) -> tuple[Option, ...]:
        if job.stage:
            return tuple(Option(way.gpus, way.hours) for way in ways[job.id].values())
        gpus = replica_gpus(job, self.config.cluster) * replicas(job, self.config.cluster)
        batch = self.config.evaluate.batch_size * replicas(job, self.config.cluster)
        looked = sum(map(cost.representation_gpu_hours, job.analyses)) * cost.A100_FLOPS / self.cluster.flops
        return (Option(gpus, scaling.answer_hours(job.generations, batch, self.cluster) + looked),)

    def _nowhere(self, job: Job, machine: Machine) -> str:
        """That a stage fits on no number of GPUs, and what to type."""
        stage, model = job.stage, job.subject.model
        assert stage is not None
        recompute = self.config.deepspeed.recompute
        most = stage.recipe.batch_size
        more = scaling.ways(stage, self.train, self.cluster, most, recompute=recompute, steps=1)
        larger = [way.gpus for way in more if way.gpus > machine.gpus]
        way = f"type plan.gpus={larger[0]} or more" if larger else "type deepspeed=zero3_offload, or take larger GPUs"
        return (
            f"plan.gpus={machine.gpus}: a training step of model={model.name} fits on no number of these GPUs of "
            f"{self.cluster.gpu_gb:g} GB (ZeRO {self.train.zero_stage}); {way}"
        )


def _parents(working: Sequence[Job], jobs: Sequence[Job]) -> dict[str, tuple[str, ...]]:
    """Of each job that uses GPUs, the nearest jobs above it that do."""
    by_id, own = {job.id: job for job in jobs}, {job.id for job in working}

    def above(job: Job) -> Iterator[str]:
        for name in job.needs:
            if name in own:
                yield name
            elif name in by_id:
                yield from above(by_id[name])

    return {job.id: tuple(dict.fromkeys(above(job))) for job in working}


def _corrections(survey: Survey, train: TrainExecution, cluster: Cluster) -> dict[str, tuple[float, int]]:
    """By model, what its finished stages took over what is estimated for the GPUs that they had: median, number."""
    ratios: dict[str, list[float]] = {}
    for stage in survey.plan.stages:
        record = survey.records.get(stage.id) or {}
        try:
            taken, ran = float(record["seconds"]) / 3600, record["execution"]
            if stage.model.gpus == 0 or not record["mfu"]:
                continue
            recompute, zero_stage = bool(ran["recompute"]), int(ran["zero_stage"])
            how = replace(train, processes=int(ran["processes"]), recompute=recompute, zero_stage=zero_stage)
        except (KeyError, TypeError, ValueError):
            continue  # of another version, or on CPUs
        ratios.setdefault(stage.model.name, []).append(taken / scaling.hours(stage, how, cluster))
    return {name: (statistics.median(found), len(found)) for name, found in ratios.items()}


def _refusal(asked: _Asked, made: Packing, deadline: float) -> str:
    """That the deadline cannot be kept, the least that can, and what to change."""
    config, gpus = asked.config, made.machine.gpus
    typed, found = config.plan.deadline, made.front[0].hours
    least = f"the shortest schedule that was found takes {found:,.1f} h ({made.front[0].gpu_hours:,.0f} GPU-hours)"
    can = "no schedule can" if deadline < made.least_hours else "none was found that does"
    text = f"plan.deadline={typed} cannot be kept on plan.gpus={gpus}: {can}; {least}, none can take less than "
    text += f"{made.least_hours:,.1f} h. Type plan.deadline={math.ceil(found)}h"
    for times in LARGER:
        larger, _ = asked.packing(times * gpus)
        if larger.within(deadline):
            return f"{text}, or plan.gpus={times * gpus}"
        if larger.longest_chain > deadline:
            break
    chain = f"the longest chain of stages alone takes {larger.longest_chain:,.1f} h at its fastest"
    return f"{text}; more GPUs do not help: {chain}" if larger.longest_chain > deadline else text
