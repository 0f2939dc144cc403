"""How the jobs of a launch run: what conf/cluster, conf/deepspeed and conf/tracking say of each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sft_sweeps.config.cluster_schema import least_threads
from sft_sweeps.config.schema import Config
from sft_sweeps.execution import AnswerExecution, Executions, Isolation, Tracking, TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import cost, memory
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.spec.training import Stage
from sft_sweeps.tracking import layout


def with_recompute(job: Job, config: Config) -> Job:
    """The job; a training job with `recompute` decided: as configured, else where the GPUs' memory is too small."""
    if not job.stage or not isinstance(job.execution, TrainExecution):
        return job
    gigabytes, recompute = config.cluster.gpu_memory_gb, config.deepspeed.recompute
    decided = memory.with_recompute(job.stage, job.execution, gigabytes, recompute, job.gpus)
    return replace(job, execution=decided)


def with_tracking(job: Job, plan: Plan, config: Config, group: str) -> Job:
    """The job; a training job with where its metrics are mirrored, and the axes by which people find it there."""
    stage = job.stage
    if stage is None:
        return job
    runs = plan.runs_through(stage)
    mirror = replace(
        tracking_of(config, group),
        tags=layout.tags(config.study.name, [run.label for run in runs]),
        axes=tuple(_axes(stage, runs, plan).items()),
    )
    return replace(job, tracking=mirror)


def tracking_of(config: Config, group: str) -> Tracking:
    """Where a sweep is shown, before what is said of a single run."""
    tracking = config.tracking
    project = layout.project(tracking.project or "", config.study.name)
    tags = layout.tags(config.study.name, ())
    return Tracking(tracking.name, project, tracking.entity or "", tracking.mode, group, tags)


def _axes(stage: Stage, runs: Sequence[Run], plan: Plan) -> dict[str, str | int]:
    """What a stage is within its sweep; one that runs of several strategies share has all of them."""
    weights, strategies = cost.parameters(stage.model.shape), [run.strategy for run in runs]
    shares = [run.k for run in runs]
    return layout.study_axes(
        stage.model, weights, strategies=strategies, shares=shares, stages=[stage], abilities=plan.abilities
    )


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
            merged=config.train.lora.save == "merged",
            heldout_every=evaluate.heldout_every,
            heldout_examples=evaluate.heldout_examples,
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
