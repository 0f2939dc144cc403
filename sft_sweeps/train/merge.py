"""Averaging finished stages: what a job that merges does, between its gate and its record. It needs no torch."""

import logging
import platform
import time

import numpy as np

from sft_sweeps.errors import Interrupted
from sft_sweeps.files.json_files import write_json
from sft_sweeps.jobs.job import PROGRESS, Stop
from sft_sweeps.models import averaging
from sft_sweeps.spec.merge import Merge
from sft_sweeps.store.store import Store
from sft_sweeps.train.records import record_model

TOLD_SECONDS = 1.0  # between two notes of how far it is
log = logging.getLogger(__name__)


def merge(subject: Merge, store: Store, stop: Stop) -> None:
    """Write the average of its stages' models and its record; what was begun and not finished is begun anew."""
    folder, begun = store.folder(subject), time.monotonic()
    told = begun

    def progress(done: int, of: int) -> None:
        nonlocal told
        if stop():
            raise Interrupted(f"{subject.label} was not finished; it takes little and is begun anew")
        if time.monotonic() - told > TOLD_SECONDS:
            told = time.monotonic()
            write_json(folder / PROGRESS, {"what": "tensors", "done": done, "of": of}, durable=False)

    folders, shares = zip(*((store.weights(stage), share) for stage, share in subject.shares), strict=True)
    digest = averaging.average(folders, shares, folder / "model", progress)
    extra = {
        "digest": digest,
        "seconds": round(time.monotonic() - begun, 3),
        "made_of": {stage.id: (store.record(stage) or {}).get("digest", "") for stage, _ in subject.shares},
        "execution": {"device": platform.machine(), "python": platform.python_version(), "numpy": np.__version__},
    }
    record_model(folder, subject, extra)
    log.info("%s has the average of %d models (%s)", folder / "model", len(folders), digest[:19])
