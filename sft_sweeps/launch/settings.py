"""How the jobs of a launch run: what conf/cluster, conf/deepspeed and conf/tracking say of each."""

from dataclasses import replace
from pathlib import Path

from sft_sweeps.config.schema import Config
from sft_sweeps.execution import AnswerExecution, Executions, Isolation, Tracking, TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec import Stage


def with_recompute(job: Job, config: Config) -> Job:
    """The job with what its model and the GPUs decide of how it runs."""
    match job:
        case Job(subject=Stage() as stage, execution=TrainExecution() as execution):
            gigabytes, asked = config.cluster.gpu_memory_gb, config.deepspeed.recompute
            return replace(job, execution=memory.with_recompute(stage, execution, gigabytes, asked))
    return job


def with_tracking(job: Job, plan: Plan, config: Config, group: str) -> Job:
    """The job with where its metrics are mirrored, and the axes by which people find it there."""
    stage, where = job.stage, config.tracking
    if stage is None:
        return job
    runs = [run for run in plan.runs if stage in run.stages]
    axes = {
        "model": stage.model.name,
        "strategy": ",".join(dict.fromkeys(run.strategy for run in runs)),
        "k": ",".join(dict.fromkeys(str(run.k) for run in runs if run.k is not None)),
        "train_seed": str(stage.recipe.seed),
        "data_seed": ",".join(dict.fromkeys(str(c.seed) for c in stage.mixture.components)),
        **{f"fraction_{c.source.ability}": str(c.fraction) for c in stage.mixture.components},
    }
    tags = tuple(dict.fromkeys(filter(None, (config.study.name, *(run.label for run in runs)))))
    given = Tracking(where.name, where.project, where.entity or "", where.mode, group, tags, tuple(axes.items()))
    return replace(job, tracking=given)


def _interpreter(python: str) -> str:
    """A relative path from where the command was typed; a name is left to PATH."""
    return str(Path(python).absolute()) if "/" in python else python


def executions_of(config: Config) -> Executions:
    """How the jobs of a launch run, by kind."""
    cluster, sandbox = config.cluster, config.sandbox
    return Executions(
        train=TrainExecution(
            processes=cluster.processes,
            threads=cluster.threads,
            token_budget=config.deepspeed.token_budget,
            zero_stage=config.deepspeed.zero_stage,
            offload=config.deepspeed.offload,
            recompute=bool(config.deepspeed.recompute),
            save_every_seconds=cluster.save_every_seconds,
            save_every_steps=cluster.save_every_steps,
        ),
        answer=AnswerExecution(
            threads=cluster.threads,
            generation_batch=config.evaluate.batch_size,
            replicas=cluster.replicas,
            engine_python=_interpreter(config.evaluate.engine_python),
        ),
        score=Isolation(
            mode=sandbox.isolation,
            require=tuple(sandbox.require),
            strict=sandbox.strict,
            accept=sandbox.i_accept_running_untrusted_code,
        ),
    )
