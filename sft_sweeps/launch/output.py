"""Whether the store can be written and has room, and what to type where it has not."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sft_sweeps.execution import TrainExecution
from sft_sweeps.files.folders import nearest_existing
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.disk import DiskNeed, DiskPolicy, needed, room
from sft_sweeps.plan import cost
from sft_sweeps.spec.merge import Merge
from sft_sweeps.store import resume_states
from sft_sweeps.store.survey import Survey


def problems(survey: Survey, jobs: Sequence[Job], policy: DiskPolicy) -> Iterator[str]:
    """Whether the store can be written, and has room for what the sweep will hold at its fullest."""
    store, root = survey.store, survey.store.root
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(root)) as file:
            file.write(b"\0" * 65536)
            file.flush()
    except OSError as error:
        yield f"output_dir={root} cannot be written ({error.strerror}); make room or choose output_dir=FOLDER"
        return
    stages, final = [job.stage for job in jobs if job.stage], {run.id for run in survey.plan.runs}
    keep = max((job.execution.keep for job in jobs if isinstance(job.execution, TrainExecution)), default=0)
    merged = any(job.execution.merged for job in jobs if isinstance(job.execution, TrainExecution))
    merges = [job.subject for job in jobs if isinstance(job.subject, Merge) and job.kind == "merge"]
    need, available = needed(stages, final, policy, keep, merged=merged, merges=merges), room(root)
    held_gb = sum(
        cost.resume_gb(s.model.shape, s.recipe.adapter) for s in stages for _ in resume_states.paths(store.folder(s))
    )
    if available.gb + held_gb < need.gb:
        least = replace(policy, retention="final")
        with_less = needed(stages, final, least, keep, merged=merged, merges=merges)
        yield (
            f"output_dir={root} has {_size(available.gb)} left ({available.limit}); this sweep needs about "
            f"{_size(need.gb - held_gb)}: {_parts(need, held_gb)}. {_ways_out(need, with_less, policy)}."
        )


def _parts(need: DiskNeed, held_gb: float) -> str:
    models = f"{_size(need.models_gb)} of finished models ({need.models})"
    states = f"{_size(need.states_gb)} of resume states ({need.states} for each of {need.at_once} trained at once)"
    return f"{models} and {states}{f', {_size(held_gb)} of which are there' if held_gb else ''}"


def _ways_out(need: DiskNeed, with_less: DiskNeed, policy: DiskPolicy) -> str:
    """What to type; `with_less` is the need where only the models in which runs end are kept."""
    ways = ["Make room", "choose output_dir=FOLDER"]
    if with_less.models < need.models:
        ways.append(f"keep {with_less.models} models with store.retention=final")
    if need.at_once > 1:
        ways.append(f"train fewer at once with {policy.key}={need.at_once // 2}")
    return f"{', '.join(ways[:-1])} or {ways[-1]}"


def _size(gigabytes: float) -> str:
    return f"{gigabytes:,.1f} GB" if gigabytes >= 1 else f"{1000 * gigabytes:,.1f} MB"
