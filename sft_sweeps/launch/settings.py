"""How the jobs of a launch run: what conf/cluster, conf/deepspeed and conf/tracking say of each."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sft_sweeps.config.cluster_schema import least_threads
from sft_sweeps.config.schema import Config
from sft_sweeps.execution import AnswerExecution, Executions, Isolation, Tracking, TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.spec import Stage


def with_recompute(job: Job, config: Config) -> Job:
    """The job; a training job with `recompute` decided: as configured, else where the GPUs' memory is too small."""
    if not job.stage or not isinstance(job.execution, TrainExecution):
        return job
    gigabytes, recompute = config.cluster.gpu_memory_gb, config.deepspeed.recompute
    return replace(job, execution=memory.with_recompute(job.stage, job.execution, gigabytes, recompute))


def with_tracking(job: Job, plan: Plan, config: Config, group: str) -> Job:
    """The job; a training job with where its metrics are mirrored, and the axes by which people find it there."""
    stage, tracking = job.stage, config.tracking
    if stage is None:
        return job
    runs = plan.runs_through(stage)
    tags = tuple(dict.fromkeys(filter(None, (config.study.name, *(run.label for run in runs)))))
    axes = tuple(_axes(stage, runs).items())
    mirror = Tracking(tracking.name, tracking.project, tracking.entity or "", tracking.mode, group, tags, axes)
    return replace(job, tracking=mirror)


def _axes(stage: Stage, runs: Sequence[Run]) -> dict[str, str]:
    """What a stage is within its sweep, as text; a stage that runs of several strategies share has all of them."""
    components = stage.mixture.components
    return {
        "model": stage.model.name,
        "strategy": _joined(run.strategy for run in runs),
        "k": _joined(str(run.k) for run in runs if run.k is not None),
        "train_seed": str(stage.recipe.seed),
        "data_seed": _joined(str(component.seed) for component in components),
        **{f"fraction_{component.source.ability}": str(component.fraction) for component in components},
    }


def _joined(texts: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(texts))


def _interpreter(python: str) -> str:
    """An absolute path, for jobs run in other folders; a name without a folder is left to PATH."""
    return str(Path(python).absolute()) if "/" in python else python


def executions_of(config: Config) -> Executions:
    """How the jobs of a launch run, before what a job's own model decides (`with_recompute`)."""
    cluster, deepspeed, evaluate, sandbox = config.cluster, config.deepspeed, config.evaluate, config.sandbox
    return Executions(
        train=TrainExecution(
            processes=cluster.processes,
            threads=least_threads(cluster),
            token_budget=deepspeed.token_budget,
            zero_stage=deepspeed.zero_stage,
            offload=deepspeed.offload,
            recompute=bool(deepspeed.recompute),
            save_every_seconds=cluster.save_every_seconds,
            save_every_steps=cluster.save_every_steps,
        ),
        answer=AnswerExecution(
            threads=least_threads(cluster),
            generation_batch=evaluate.batch_size,
            replicas=cluster.replicas,
            engine_python=_interpreter(evaluate.engine_python),
        ),
        score=Isolation(
            mode=sandbox.isolation,
            require=tuple(sandbox.require),
            strict=sandbox.strict,
            accept=sandbox.i_accept_running_untrusted_code,
        ),
    )
