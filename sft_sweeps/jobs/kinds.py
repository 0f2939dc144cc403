"""Every kind of job, described once.

To add one: describe it in `KINDS`, say in jobs/job.py (`missing`) when a plan needs it, and in worker/dispatch.py what
its worker does. conf/cluster can give it resources of its own; without, it asks for the cluster's.
"""

from dataclasses import dataclass
from pathlib import Path
from types import NoneType

from sft_sweeps.execution import AnswerExecution, Isolation, TrainExecution
from sft_sweeps.store.paths import worker_log


@dataclass(frozen=True)
class JobKind:
    """What sets one kind of job apart from the others.

    A job's subject is a stage, a base model or a merge. `execution` is the type of what says how such a job runs.
    """

    name: str
    does: str  # "trains a stage"
    done: str  # what a finished one has done, before its subject's label: "trained", "answered by"
    execution: type = NoneType
    makes_model: bool = False  # it makes its subject's weights, and is done when that has a record
    evaluates: bool = False  # it reads its subject's weights for what a sweep asks of them, or scores such answers
    scores: bool = False  # what it makes are scores of answers
    gpus: bool = False  # it uses those that its model asks for
    network: bool = False  # it talks to another machine while it works

    def claim_folder(self, folder: Path) -> Path:
        """Where a job's claim, progress and failure lie: its subject's folder, or one in it where it makes no model."""
        return folder if self.makes_model else folder / self.name

    def log(self, folder: Path, rank: int = 0) -> Path:
        """What a rank of a job prints, in its subject's folder."""
        return worker_log(folder, self.name, rank)


KINDS: dict[str, JobKind] = {
    kind.name: kind
    for kind in (
        JobKind("encode", "cleans and encodes the sources of a sweep", "encoded"),
        JobKind("prepare", "makes a base model from a seed", "prepared", makes_model=True),
        JobKind("train", "trains a stage", "trained", TrainExecution, makes_model=True, gpus=True),
        JobKind("merge", "averages finished stages", "averaged", makes_model=True),
        JobKind("generate", "answers benchmarks", "answered by", AnswerExecution, evaluates=True, gpus=True),
        JobKind(
            "represent", "takes representations of queries", "looked into", AnswerExecution, evaluates=True, gpus=True
        ),
        JobKind("score", "scores answers", "scored", Isolation, evaluates=True, scores=True),
        JobKind(
            "judge",
            "has answers graded by a judge",
            "judged",
            Isolation,
            evaluates=True,
            scores=True,
            network=True,
        ),
    )
}
