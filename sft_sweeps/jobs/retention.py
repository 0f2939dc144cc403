"""Which models are freed when nothing needs them any more.

`all` keeps every model. `final` frees a stage's model when its children in the sweep and its scores are done, but not
where a run ends. `scores` frees those too, once they are scored; a model that no score is asked of stays. Base models
stay.

Several sweeps hold one stage: its model goes only when every sweep of the store lets it go, each by the policy that it
was last launched with. A sweep that is not finished holds what it still needs until its folder is deleted. Other stores
that read from this one are not asked: they find the weights gone, and train the stage themselves.

A model is freed in three moves, so that neither a crash nor a launch at the same moment is fooled: `freed.json` is
written (from now on the weights count as gone), the sweeps are read again, the model is renamed and removed. A launch
writes its plan and then looks at the stages, or looks again (store/freeing.py): it sees the marker, or its plan is seen
here.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sft_sweeps.errors import RequestError, SweepError
from sft_sweeps.execution import Executions
from sft_sweeps.files.json_files import read_json, write_json
from sft_sweeps.identity import parents_of
from sft_sweeps.jobs.job import Job, missing
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import freeing
from sft_sweeps.store.store import FREED, FREEING, RecordError, Store, read_record
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import PLAN, Sweep, sweeps

POLICY = "retention.json"
FEW = 4  # stages, about which a sweep's plan is not read whole
ABANDONED_SECONDS = 600.0  # after which a marker beside a model is one of a process that died in between


def declare(sweep: Sweep, policy: str) -> None:
    """What a launch of the sweep wants freed: `all`, `final` or `scores`."""
    write_json(sweep.folder / POLICY, {"retention": policy})


def policy_of(sweep: Sweep) -> str:
    """What the sweep was last launched with; `all` where nothing readable says so."""
    try:
        return str(read_json(sweep.folder / POLICY)["retention"])
    except (OSError, ValueError, KeyError, TypeError):
        return "all"


def free(sweep: Sweep, store: Store, among: Collection[Stage | Merge] | None = None) -> list[str]:
    """Free the models of a sweep's stages (`among`: of these alone) that no sweep needs; says what was freed."""
    if policy_of(sweep) == "all":
        return []
    stages = [s for s in (sweep.plan().derived if among is None else among) if has_model(store, s)]
    if stages and not whole((sweep.folder / PLAN).read_text(encoding="utf-8")):
        raise RequestError(f"{sweep.folder / PLAN} cannot be read; launch the sweep again")
    folders = put_away(unneeded(stages, store), store, {"sweep": sweep.name})
    return [f"{stage.label} ({stage.id}): model freed, {_remove(folder):,.1f} GB" for stage, folder in folders]


def put_away(
    stages: Sequence[Stage | Merge], store: Store, by: Mapping[str, str], policy: str = ""
) -> list[tuple[Stage | Merge, Path]]:
    """Mark models as freed, look again, and rename away those that still nobody needs; their stages and folders.

    What was renamed is for the caller to remove. `by` is what the marker says.
    """
    marked = [stage for stage in stages if _mark(store.folder(stage), by)]
    if marked:
        freeing.leave_mark(store.root, str(by))
    free_now = {stage.id for stage in unneeded(marked, store, policy)}
    away = []
    for stage in marked:
        folder = store.folder(stage)
        if stage.id in free_now:
            rename_away(folder)
            away.append((stage, folder))
        else:
            (folder / FREED).unlink(missing_ok=True)
    return away


def free_after(job: Job, sweep: Sweep, store: Store) -> list[str]:
    """The same for what the end of a job has made superfluous; nothing that goes wrong with it harms the job."""
    try:
        return free(sweep, store, among=job.releases)
    except (OSError, SweepError) as error:
        return [f"nothing was freed: {error}"]


def has_model(store: Store, stage: Stage | Merge) -> bool:
    """Whether a stage's work is done in this store and its model, or a part of it, is still there."""
    folder = store.folder(stage)
    try:
        done = read_record(folder, stage.payload) is not None
    except RecordError:
        return False
    return done and ((folder / "model").exists() or any(folder.glob(f"{FREEING}*")))


def unneeded(stages: Sequence[Stage | Merge], store: Store, policy: str = "") -> list[Stage | Merge]:
    """The stages whose models no sweep of the store needs; none where a plan that may need them cannot be read.

    `policy` is asked of every sweep, in place of the one that it was last launched with.
    """
    held: set[str] = set()
    for sweep in sweeps(store) if stages else ():
        try:
            text = (sweep.folder / PLAN).read_text(encoding="utf-8")
            if not whole(text):
                return []
            asked = [stage for stage in stages if stage.id in text]
            if asked:
                below = sweep.plan([stage.id for stage in asked] if len(asked) <= FEW else ())
                held |= _held(below, policy or policy_of(sweep), asked, store)
        except FileNotFoundError:
            continue  # deleted just now
        except (OSError, ValueError, RequestError):
            return []
    return [stage for stage in stages if stage.id not in held]


def whole(text: str) -> bool:
    """Whether the text of a plan was written to its end; of what is cut off nobody knows what it needs."""
    return text.rstrip().endswith("}")


def _held(plan: Plan, policy: str, stages: Sequence[Stage | Merge], store: Store) -> set[str]:
    """Of some stages, the ids of those that a sweep does not let go."""
    ids = {stage.id for stage in stages}
    if policy == "all":
        return ids & {stage.id for stage in plan.derived}
    ends = {run.id for run in plan.runs}
    scored = {generation.subject.id for generation in plan.generations}
    kept = ends if policy == "final" else ends - scored
    return ids & (kept | _needed(_below(plan, ids), store))


def _below(plan: Plan, ids: Collection[str]) -> Plan:
    """Of a plan, some stages and all that follows from them."""
    below = set(ids)
    for one in plan.derived:
        if below & set(parents_of(one.payload)):
            below.add(one.id)
    pairs = zip(plan.generations, plan.scores, strict=True)
    chosen = [(generation, score) for generation, score in pairs if generation.subject.id in below]
    return replace(
        plan,
        models=(),
        stages=tuple(stage for stage in plan.stages if stage.id in below),
        merges=tuple(merge for merge in plan.merges if merge.id in below),
        generations=tuple(generation for generation, _ in chosen),
        scores=tuple(score for _, score in chosen),
        analyses=tuple(one for one in plan.analyses if one.subject.id in below),
    )


def _needed(plan: Plan, store: Store) -> set[str]:
    """Ids of the subjects whose weights what is missing of a plan will be made from, or which are to be made."""
    fresh = Store(store.root, [other.root for other in store.others])  # its listing of folders is of this moment
    needed: set[str] = set()
    for job in missing(survey(plan, fresh), Executions()):
        needed.add(job.subject.id)
        if job.makes_model:
            needed.update(parents_of(job.subject.payload))
    return needed


def _mark(folder: Path, by: Mapping[str, str]) -> bool:
    """Say that the model is freed; False where that cannot be, or another process is about to remove it."""
    marker, temporary = folder / FREED, folder / f".{FREED}.{uuid.uuid4().hex[:8]}"
    try:
        write_json(temporary, {**by, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")})
        os.link(temporary, marker)
    except FileExistsError:
        return _age(marker) > ABANDONED_SECONDS
    except OSError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _age(file: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - file.stat().st_mtime
    return 0.0


def rename_away(folder: Path) -> None:
    """Take a model from where it is looked for."""
    with contextlib.suppress(FileNotFoundError):
        (folder / "model").rename(folder / f"{FREEING}{uuid.uuid4().hex[:8]}")


def _remove(folder: Path) -> float:
    """Remove what was renamed away; its size in GB. Whoever finds a part of it afterwards removes that."""
    freed = 0.0
    for left in folder.glob(f"{FREEING}*"):
        freed += sum(_sizes(left)) / 1e9
        shutil.rmtree(left, ignore_errors=True)
    return freed


def _sizes(folder: Path) -> Iterator[int]:
    yield from (path.stat().st_size for path in folder.rglob("*") if path.is_file())
