"""How a sweep is laid out at a tracker: what is a project, a group and a run, and what everything in a run is called.

    project    the study (tracking.project, where that is set)
    group      the sweep
    run        of one JobType; its id is made of identities, so that whoever does the same work again finds it
    config     `study`: what people filter and group by (`study_axes`), every key in every run; `recipe`; `identity`
    tags       the study, the runs (rows of its table) that the work is for, `reference` of those that others are
               compared with
    history    of a training run: train/loss ... over train/step, as metrics.jsonl has them
    summary    of a score run: gsm8k/score, gsm8k/low ... (`MEASURES` of each benchmark), gpu_hours ...
    tables     of a score run: samples/gsm8k; of the report run: SCORES, DIFFERENCES, and
               what its charts draw (dashboard/charts.py)

Shares of right answers are percent, as in a report's tables; a rating or a loss is in its own unit. Nothing here knows
of any one tracker.
"""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from hashlib import sha256
from typing import Literal, get_args

from sft_sweeps.identity import digest
from sft_sweeps.spec.data import Component
from sft_sweeps.spec.training import Model, Stage

JobType = Literal["prepare", "train", "generate", "score", "report"]
JOB_TYPES: tuple[JobType, ...] = get_args(JobType)

NONE = "none"  # of what a run has not: grouping drops what is empty
STUDY = "study"  # the block of the config with the axes
REFERENCE = "reference"  # the tag of a run that the others of its model are compared with
DEFAULT_PROJECT = "sft-sweeps"  # of points without a study

# In training, over STEP.
STEP = "train/step"
TRAIN = "train/"
SUPERVISED_SEEN = "train/supervised_tokens_seen"  # up to that step: an axis, too

# Of one benchmark in a score run's summary: the score and its 95 % interval, of how many items; the difference to the
# reference with its interval and p adjusted for all comparisons of the benchmark; and what the later stages took of
# what the first ones taught, which is negative where something was forgotten.
MEASURES = ("score", "low", "high", "n", "difference", "difference_low", "difference_high", "p", "forgetting")
GPU_HOURS = "gpu_hours"  # that the run's stages took, each counted whole in every run that passes through it
GPU_HOURS_PLANNED = "gpu_hours_planned"

SCORES = "scores"  # the report run's table of every score: analysis.observations.COLUMNS
DIFFERENCES = "differences"
SAMPLES = "samples/"

# What Weights & Biases, the narrowest, takes. A server refuses longer ones.
LONGEST_NAME = 128  # of a project, a group and a run
LONGEST_TAG = 64
LONGEST_ID = 64
MARK = 6  # hex digits that tell names apart which were cut


def project(configured: str, study: str) -> str:
    """`tracking.project`, else the study."""
    return cut(configured or study or DEFAULT_PROJECT)


def run_id(job_type: JobType, identity: str, sweep: str) -> str:
    """Of a base model or stage its own id, which every sweep shares; of what a sweep asks of it a digest of both.

    `identity` is that of what is prepared, trained, answers or is scored; a report's is its sweep's name.
    """
    return identity if job_type in ("prepare", "train") else f"{job_type}-{digest([job_type, sweep, identity])}"


def study_axes(
    model: Model,
    parameters: int,
    *,
    strategies: Sequence[str],
    shares: Sequence[Fraction | None],
    stages: Sequence[Stage],
    abilities: Iterable[str],
) -> dict[str, str | int]:
    """The `study` block of a run that passes through these stages: all keys for all runs of a sweep.

    A stage that runs of several strategies or k share names them all: `dmt,sequential`. `abilities` are the sweep's.
    Numbers are numbers, to be drawn over; what can be `none` is text.
    """
    largest: dict[str, Component] = {}  # by source: of what several stages take of it, the most
    for c in (c for stage in stages for c in stage.mixture.components):
        known = largest.get(c.source.name, c)
        largest[c.source.name] = max(known, c, key=lambda one: (one.fraction, one.examples))
    by_ability: dict[str, list[Component]] = {ability: [] for ability in abilities}
    for c in largest.values():
        by_ability.setdefault(c.source.ability, []).append(c)
    recipe = stages[-1].recipe if stages else None
    return {
        "model": model.name,
        "parameters": parameters,
        "strategy": joined(strategies),
        "k": joined(share for share in shares if share is not None),
        "abilities": joined(ability for ability, taken in by_ability.items() if taken),
        "sources": joined(sorted(largest)),
        "fraction": joined(sorted({c.fraction for c in largest.values()})),
        "examples": sum(c.examples for c in largest.values()),
        "order": recipe.order if recipe else NONE,
        "stages": len(stages),
        "seed": str(recipe.seed) if recipe else NONE,
        "data_seed": joined(sorted({c.seed for stage in stages for c in stage.mixture.components})),
        **{f"fraction_{name}": joined(sorted({c.fraction for c in of})) for name, of in sorted(by_ability.items())},
        **{f"examples_{name}": sum(c.examples for c in of) for name, of in sorted(by_ability.items())},
        **{f"repeat_{name}": joined(sorted({c.repeat for c in of})) for name, of in sorted(by_ability.items())},
        **{f"weight_{name}": joined(sorted({c.weight for c in of})) for name, of in sorted(by_ability.items())},
    }


def joined(values: Iterable[object]) -> str:
    """Values as text, each once; `none` where there are none."""
    return ",".join(dict.fromkeys(map(str, values))) or NONE


def metric(benchmark: str, measure: str) -> str:
    """`gsm8k/score`, `heldout_loss_math/low`: with letters that filters of every tracker take."""
    return f"{slug(benchmark)}/{measure}"


def samples(benchmark: str) -> str:
    """The table of a benchmark's sample answers."""
    return SAMPLES + slug(benchmark)


def slug(name: str) -> str:
    """A name of letters, digits and underscores."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def cut(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that is not too long: its beginning and a digest of the whole, so that two names stay two."""
    if len(name) <= longest:
        return name
    return f"{name[: longest - MARK - 1].rstrip()}-{sha256(name.encode()).hexdigest()[:MARK]}"


def tags(study: str, runs: Iterable[str], *more: str) -> tuple[str, ...]:
    """Each once, none empty or too long."""
    return tuple(dict.fromkeys(cut(tag, LONGEST_TAG) for tag in (study, *runs, *more) if tag.strip()))
