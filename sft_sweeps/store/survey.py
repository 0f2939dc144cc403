"""States of everything in a plan: done, running, interrupted, failed, weights gone, corrupted, missing; and why."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sft_sweeps.files.json_files import last_line, read_json
from sft_sweeps.identity import ID_LENGTH, differences
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.spec import Model, Stage
from sft_sweeps.store import failures
from sft_sweeps.store.claims import holder
from sft_sweeps.store.store import LABEL_LENGTH, SHOWN, Item, RecordError, Store, freed, lost_files, read_record


@dataclass(frozen=True)
class Survey:
    """A plan, a store, and what the store knows of everything in the plan: its states by id."""

    plan: Plan
    store: Store
    states: Mapping[str, State]


def survey(plan: Plan, store: Store, queue: Queue | None = None) -> Survey:
    """Look everything of a plan up in a store; `queue`: as it was asked before, else it is asked now."""
    earlier, queue = _labels(store), queue or Queue()
    states = {model.id: _state(store, model, queue) for model in plan.models}
    for stage in plan.stages:
        state = _state(store, stage, queue)
        if state == State("missing", "new"):
            state = State("missing", _why(stage, earlier.get(stage.label[:LABEL_LENGTH], []), states))
        states[stage.id] = state
    for generation, score in zip(plan.generations, plan.scores, strict=True):
        states[generation.id] = _state(store, generation, queue)
        states[score.id] = _state(store, score, queue)
    return Survey(plan, store, states)


def _state(store: Store, item: Item, queue: Queue) -> State:
    """The state in this store, unless another one has it done."""
    state = _own_state(store, item, queue)
    if state.state in ("done", "corrupted"):
        return state
    other = store.elsewhere(item)
    return State("done", f"in {other.root}") if other else state


def _own_state(store: Store, item: Item, queue: Queue) -> State:
    """The state in this store alone."""
    folder = store.write_folder(item)
    try:
        record = read_record(folder, item.payload)
    except RecordError as error:
        return State("corrupted", str(error))
    if record is not None:
        if why := freed(folder):
            return State("weights gone", why)
        lost = lost_files(folder, record)
        return State("weights gone", f"{', '.join(lost)} gone from {folder}") if lost else State("done")
    if not isinstance(item, Stage | Model) or not folder.is_dir():
        return State("missing", "new")
    return _unfinished(folder, queue)


def _unfinished(folder: Path, queue: Queue) -> State:
    """The state of a stage or base model whose folder has no record."""
    step = last_step(folder)
    if claim := holder(folder, queue):
        return State("running", f"by {claim.sweep}: {claim.who}", step)
    if failure := failures.reason_of(folder):
        return State("failed", failure, step)
    if resumable := resume_step(folder):
        return State("interrupted", f"resume state at step {resumable}", resumable)
    return State("missing", "started before, nothing saved") if step else State("missing", "new")


def resume_step(folder: Path) -> int:
    """The step of the newest resume state (its completeness is checked when it is loaded); 0 without one."""
    names = [path.name for path in (folder / "resume").glob("step-*") if path.is_dir()]
    steps = [int(name.removeprefix("step-")) for name in names if name.removeprefix("step-").isdigit()]
    return max(steps, default=0)


def last_step(folder: Path) -> int:
    """The last step in metrics.jsonl; 0 when there is none."""
    line = last_line(folder / "metrics.jsonl")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(json.loads(line)["step"])
    return 0


def _labels(store: Store) -> dict[str, list[Path]]:
    """Folders of stages by label, to explain what a new one differs in."""
    folders: dict[str, list[Path]] = {}
    for folder in store.stage_folders():
        folders.setdefault(folder.name[: -ID_LENGTH - 1], []).append(folder)
    return folders


def _why(stage: Stage, namesakes: list[Path], states: Mapping[str, State]) -> str:
    """Why a stage must be trained: it is new, or differs in some fields from the most similar stage of its label.

    `namesakes` are the folders of stages with that label.
    """
    compared = [(changed, folder) for folder in namesakes if (changed := _changed(folder, stage))]
    if compared:
        changed, folder = min(compared, key=lambda pair: len(pair[0]))
        shown = [text for text in changed if not text.startswith("parent ")] or ["its parent differs"]
        return f"new: {'; '.join(shown[:SHOWN])} (against {folder.name[-ID_LENGTH:]})"
    parent = states.get(stage.parent.id)
    return "new, after its parent" if stage.parent.chain and parent and parent.state != "done" else "new"


def _changed(folder: Path, stage: Stage) -> list[str]:
    """What a stage has changed against the one whose folder this is; nothing where that says no identity."""
    with contextlib.suppress(ValueError, OSError):
        stored = read_json(folder / "identity.json")
        return differences(stored, stage.payload) if stored else []
    return []
