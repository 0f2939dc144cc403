"""How the jobs of a launch run: what conf/cluster, conf/deepspeed and conf/tracking say of each."""

from dataclasses import replace
from pathlib import Path

from sft_sweeps.config.schema import Config
from sft_sweeps.execution import Execution, Isolation, Tracking
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan import memory
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec import Stage


def with_recompute(job: Job, config: Config) -> Job:
    """The job with what its model and the GPUs decide of how it runs."""
    stage = job.subject
    if job.kind != "train" or not isinstance(stage, Stage):
        return job
    gigabytes, asked = config.cluster.gpu_memory_gb, config.deepspeed.recompute
    return replace(job, execution=memory.with_recompute(stage, job.execution, gigabytes, asked))


def with_tracking(job: Job, plan: Plan, config: Config, group: str) -> Job:
    """The job with where its metrics are mirrored, and the axes by which people find it there."""
    stage, where = job.subject, config.tracking
    if job.kind != "train" or not isinstance(stage, Stage):
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


def execution_of(config: Config) -> Execution:
    cluster = config.cluster
    return Execution(
        processes=cluster.processes,
        threads=cluster.threads,
        token_budget=config.deepspeed.token_budget,
        zero_stage=config.deepspeed.zero_stage,
        offload=config.deepspeed.offload,
        recompute=bool(config.deepspeed.recompute),
        save_every_seconds=cluster.save_every_seconds,
        save_every_steps=cluster.save_every_steps,
        generation_batch=config.evaluate.batch_size,
        replicas=cluster.replicas,
        engine_python=_interpreter(config.evaluate.engine_python),
        isolation=Isolation(
            mode=config.sandbox.isolation,
            require=tuple(config.sandbox.require),
            strict=config.sandbox.strict,
            accept=config.sandbox.i_accept_running_untrusted_code,
        ),
    )
