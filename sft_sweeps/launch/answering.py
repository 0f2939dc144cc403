"""The GPUs of a job that answers, or looks into a model: replicas, each on the fewest that hold its weights."""

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.jobs.job import Job
from sft_sweeps.plan.engines import Held
from sft_sweeps.spec.training import Model


def model_of(job: Job) -> Model:
    """The base model at the root of the job's subject."""
    return job.subject.model


def held(job: Job) -> Held:
    """The job's model as the engine holds it to answer or to be looked into; the largest where several do."""
    model = model_of(job)
    models = [Held(model.name, model.shape, g.engine.dtype, g.engine.backend) for g in job.generations]
    models += [Held(model.name, model.shape, one.dtype, "hf") for one in job.analyses]
    default = Held(model.name, model.shape, "bf16", "hf")
    return max(models, key=lambda one: (one.gigabytes, one.backend), default=default)


def replica_gpus(job: Job, cluster: ClusterConfig) -> int:
    """The fewest GPUs of a node that hold the model; as many as it can use where none do, which is refused later."""
    try:
        return held(job).size(cluster.gpus_per_node, cluster.gpu_memory_gb)
    except RequestError:
        return held(job).sizes(cluster.gpus_per_node)[-1]


def replicas(job: Job, cluster: ClusterConfig) -> int:
    """Replicas that a job has on its node; more than there is room for are refused before."""
    if job.kind != "generate":
        return 1
    most = cluster.gpus_per_node // replica_gpus(job, cluster) if model_of(job).gpus else job.width
    return max(1, min(cluster.replicas, most))
