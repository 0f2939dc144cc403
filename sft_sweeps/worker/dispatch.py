"""What a worker does for each kind of job.

Only the work that needs torch imports it: a job that scores starts at once.
"""

import os
from collections.abc import Callable, Sequence

from sft_sweeps import garbage
from sft_sweeps.errors import RunError
from sft_sweeps.execution import AnswerExecution, Isolation, TrainExecution
from sft_sweeps.jobs.job import PROGRESS, Job, Stop, claim_folder
from sft_sweeps.plan.build import Subject
from sft_sweeps.spec.evaluation import Generation, Representations
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import RECORD, WEIGHTS, Store, damaged_files


def do(job: Job, stop: Stop, rendezvous: str = "") -> None:
    """The work of a job; returns when its record is written. `rendezvous` is the file in which its ranks meet."""
    WORK[job.kind](job, stop, rendezvous)
    if os.environ.get("RANK", "0") == "0":
        (claim_folder(job, job.folder) / PROGRESS).unlink(missing_ok=True)


def gate(subject: Subject, store: Store) -> None:
    """RunError unless a subject's weights are finished and there."""
    ready = store.record(subject) is not None if subject.made else (store.weights(subject) / "config.json").is_file()
    if not ready:
        raise RunError(f"{subject.label} ({subject.id}) is not finished; launch the sweep again to have it made first")
    if subject.made and os.environ.get("RANK", "0") == "0":
        _check_model(subject, store)


def _check_model(subject: Subject, store: Store) -> None:
    """RunError where a byte of a finished model has changed since it was written."""
    folder, record = store.read_folder(subject), store.record(subject)
    if record is None:
        return
    damaged = damaged_files(folder, record, WEIGHTS)
    if (folder / "model").is_dir():
        damaged += damaged_files(folder, {"checksums": record.get("merged", {})})
    if damaged:
        raise RunError(
            f"{', '.join(damaged)} of {folder} changed since {subject.label} was finished. "
            f"Delete {folder / RECORD} and launch again: it is made anew"
        )


def _encode(job: Job, stop: Stop, _: str) -> None:
    from sft_sweeps.jobs import encoding

    encoding.encode(job, job.store, stop)


def _prepare(job: Job, stop: Stop, _: str) -> None:
    assert isinstance(job.subject, Model)
    from sft_sweeps.train import prepare

    prepare.prepare(job.subject, job.store, stop)


def _train(job: Job, stop: Stop, rendezvous: str) -> None:
    assert isinstance(job.subject, Stage)
    assert isinstance(job.execution, TrainExecution)
    gate(job.subject.parent, job.store)
    with garbage.uncollected():
        from sft_sweeps.train import stage

    stage.train(job.subject, job.store, job.execution, job.tracking, stop, rendezvous=rendezvous)


def _merge(job: Job, stop: Stop, _: str) -> None:
    assert isinstance(job.subject, Merge)
    for stage in job.subject.parents:
        gate(stage, job.store)
    from sft_sweeps.train import merge

    merge.merge(job.subject, job.store, stop)


def _generate(job: Job, stop: Stop, _: str) -> None:
    if execution := _answering(job, job.generations):
        with garbage.uncollected():
            from sft_sweeps.generate import answers

        answers.generate(job.subject, job.generations, job.store, execution, stop)


def _represent(job: Job, stop: Stop, _: str) -> None:
    if _answering(job, job.analyses):
        with garbage.uncollected():
            from sft_sweeps.generate import represent

        represent.represent(job.subject, job.analyses, job.store, stop)


def _answering(job: Job, wanted: Sequence[Generation | Representations]) -> AnswerExecution | None:
    """How the job's model is asked, once its weights are found to be there; None where all is recorded already."""
    assert isinstance(job.execution, AnswerExecution)
    if all(job.store.record(one) is not None for one in wanted):
        return None
    gate(job.subject, job.store)
    with garbage.uncollected():
        import torch

    torch.set_num_threads(job.execution.threads)
    return job.execution


def _score(job: Job, stop: Stop, _: str) -> None:
    assert isinstance(job.execution, Isolation)
    from sft_sweeps.score import score

    score.score_all(job.generations, job.store, stop, job.execution)


WORK: dict[str, Callable[[Job, Stop, str], None]] = {
    "encode": _encode,
    "prepare": _prepare,
    "train": _train,
    "merge": _merge,
    "generate": _generate,
    "represent": _represent,
    "score": _score,
    "judge": _score,
}
