"""What each kind of job does. Only the work that needs torch imports it: a job that scores starts at once."""

from sft_sweeps.errors import RunError
from sft_sweeps.jobs.job import Job, Stop
from sft_sweeps.plan.build import Subject
from sft_sweeps.score import score
from sft_sweeps.spec import Stage
from sft_sweeps.store.store import Store


def do(job: Job, stop: Stop, meeting: str = "") -> None:
    """The work of a job; returns when its record is written."""
    subject, store = job.subject, job.store
    if job.kind in ("score", "judge"):
        score.score_all(job.generations, store, stop, job.execution.isolation)
    elif job.kind == "generate":
        _generate(job, store, stop)
    elif job.kind == "encode":
        from sft_sweeps.jobs import encoding

        encoding.encode(job, store, stop)
    elif isinstance(subject, Stage):
        gate(subject.parent, store)
        from sft_sweeps.train import stage

        stage.train(subject, store, job, stop, meeting)
    else:
        from sft_sweeps.train import stage

        stage.prepare(subject, store)


def gate(subject: Subject, store: Store) -> None:
    """RunError unless a subject's weights are finished and there."""
    made = isinstance(subject, Stage) or subject.initialised
    ready = store.record(subject) is not None if made else (store.weights(subject) / "config.json").is_file()
    if not ready:
        raise RunError(f"{subject.label} ({subject.id}) is not finished; launch the sweep again to have it made first")


def _generate(job: Job, store: Store, stop: Stop) -> None:
    if all(store.record(generation) is not None for generation in job.generations):
        return
    gate(job.subject, store)
    import torch

    from sft_sweeps.generate import answers

    torch.set_num_threads(job.execution.threads)
    answers.generate(job.subject, job.generations, store, job.execution, stop)
