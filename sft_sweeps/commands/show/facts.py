"""What there is to say of a stage, base model or run, as JSON can hold it (schema 1)."""

import contextlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sft_sweeps.benchmarks.scored import Scored
from sft_sweeps.commands.show.changes import Change, changes, nearest
from sft_sweeps.commands.show.known import Catalogue, Known
from sft_sweeps.config import site
from sft_sweeps.errors import RequestError
from sft_sweeps.files import foreign
from sft_sweeps.files.json_files import read_json
from sft_sweeps.jobs import attempts
from sft_sweeps.models.adapter import CONFIG
from sft_sweeps.models.adapter import FOLDER as ADAPTER
from sft_sweeps.plan.build import Plan, Run, State, Subject
from sft_sweeps.spec.training import Stage
from sft_sweeps.store.store import Store
from sft_sweeps.store.survey import Survey, survey
from sft_sweeps.terminal import LAUNCH

SCHEMA = 1
RECORDED = ("finished", "seconds", "tokens_per_second", "digest", "last", "execution")
UNSAFE = set('"$`\\!')  # inside double quotes of a shell


def facts(catalogue: Catalogue, one: Known, other: Known | None, root: Path | str) -> dict[str, Any]:
    """Everything; `other` is what it is compared with, else its nearest neighbours are."""
    surveyed = _survey(one, root)
    subject = _subject(one, surveyed) if surveyed else None
    state = surveyed.states[one.id] if surveyed and subject else _state(catalogue, one)
    compared = [(other, changes(catalogue, one, other))] if other else nearest(catalogue, one)
    folder = _folder(catalogue, one, surveyed, subject)
    return {
        "id": one.id,
        "kind": one.kind,
        "label": catalogue.name(one),
        "runs": list(one.runs),
        "needed_by": surveyed.plan.runs_of(subject) if surveyed and isinstance(subject, Stage) else [],
        "sweeps": [sweep.name for sweep in one.sweeps],
        "chain": [{"id": link.id, "label": catalogue.name(link)} for link in catalogue.chain(one)],
        "state": state.state,
        "why": state.why,
        "folder": str(folder),
        "mixture": list(mixture(one.payload, subject, folder)),
        "recipe": dict(one.payload.get("recipe", {})),
        "identity": dict(one.payload),
        "record": recorded(folder),
        "scores": list(_scores(one, surveyed)) if surveyed else [],
        "analyses": list(_analyses(one, surveyed)) if surveyed else [],
        "differences": [_difference(catalogue, *pair) for pair in compared],
        "commands": _commands(one, surveyed, subject, folder, root),
    }


def _survey(one: Known, root: Path | str) -> Survey | None:
    """What the newest sweep that has it planned knows of it; None where its plan cannot be read (any more)."""
    for sweep in one.sweeps:
        with contextlib.suppress(RequestError):
            plan = sweep.plan([one.id] if one.trained else ())
            return survey(plan, sweep.store(root), thorough=False)
    return None


def _subject(one: Known, surveyed: Survey) -> Subject | None:
    return next((subject for subject in surveyed.plan.subjects if subject.id == one.id), None)


def _state(catalogue: Catalogue, one: Known) -> State:
    """By its folder alone: its sweep was deleted."""
    folder = next(iter(_folders(catalogue.store, one)), None)
    done = folder is not None and (folder / "record.json").is_file()
    return State("done" if done else "missing", "no sweep has it planned any more")


def _folders(store: Store, one: Known) -> Iterator[Path]:
    for root in store.roots:
        yield from (root / ("stages" if one.trained else "models")).glob(f"*-{one.id}")


def _folder(catalogue: Catalogue, one: Known, surveyed: Survey | None, subject: Subject | None) -> Path:
    if surveyed and subject:
        return surveyed.store.read_folder(subject)
    return next(_folders(catalogue.store, one), catalogue.store.root)


def mixture(payload: Mapping[str, Any], subject: Subject | None, folder: Path) -> Iterator[dict[str, Any]]:
    """Each source with its fraction and number of examples: what was trained on, else what is planned."""
    taken: Mapping[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        taken = read_json(folder / "data.json")["sources"]
    planned = {c.source.name: c for c in subject.mixture.components} if isinstance(subject, Stage) else {}
    for part in payload.get("mixture", []):
        name = part["source"]["name"]
        component, account = planned.get(name), taken.get(name, {})
        yield {
            "source": name,
            "ability": component.source.ability if component else "",
            "fraction": part["fraction"],
            "examples": account.get("examples", component.examples if component else None),
            "planned": not account,
            **{key: account[key] for key in ("truncated", "masked") if account.get(key)},
        }


def recorded(folder: Path) -> dict[str, Any]:
    """What the record says beyond the identity, and what it took; empty without one."""
    record: Mapping[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        record = read_json(folder / "record.json") or {}
    if not isinstance(record, Mapping) or not record:
        return {}
    found = {key: record[key] for key in RECORDED if key in record}
    found["gigabytes"] = round(sum(size for size in record.get("files", {}).values()) / 1e9, 6)
    if (folder / attempts.ATTEMPTS).is_file():
        used = attempts.usage(folder, running=False)
        found |= {"starts": used.starts, "gpu_hours": round(used.gpu_hours, 3)}
    return found


def _scores(one: Known, surveyed: Survey) -> Iterator[dict[str, Any]]:
    for score in surveyed.plan.scores:
        generation = score.generation
        if generation.subject.id != one.id:
            continue
        state, text = surveyed.states[score.id], ""
        with contextlib.suppress(ValueError, KeyError):
            text = Scored.from_record(surveyed.records[score.id], score.id).text()
        yield {"id": score.id, "benchmark": generation.benchmark.name, "state": state.state, "score": text}


def _analyses(one: Known, surveyed: Survey) -> Iterator[dict[str, Any]]:
    for asked in surveyed.plan.analyses:
        if asked.subject.id == one.id:
            what = asked.label.removeprefix(f"{asked.subject.label}: ")
            yield {"id": asked.id, "what": f"representations, {what}", "state": surveyed.states[asked.id].state}


def _difference(catalogue: Catalogue, other: Known, found: list[Change]) -> dict[str, Any]:
    return {
        "id": other.id,
        "label": catalogue.name(other),
        "runs": list(other.runs),
        "fields": [change._asdict() for change in found],
    }


def _commands(
    one: Known, surveyed: Survey | None, subject: Subject | None, folder: Path, root: Path | str
) -> dict[str, str]:
    """What to type: to make it again, to read its logs, to serve and to load its model; what cannot be is left out."""
    typed = {"reproduce": _reproduce(surveyed.plan, one, root)} if surveyed else {}
    weights = surveyed.store.weights(subject) if surveyed and subject else folder / "model"
    typed["logs"] = site.command(root, "logs", one.id)
    if (weights / "config.json").is_file():
        path = str(weights.absolute())
        typed |= {"serve": serve(path, one.id), "ask": ask(path)}
    elif (folder / ADAPTER / CONFIG).is_file():
        typed |= _of_adapter((folder / ADAPTER).absolute(), one.id)
    return {key: value for key, value in typed.items() if value}


def serve(model: str, name: str) -> str:
    """What serves a model, a folder or a repository of the hub, under a name."""
    return f"vllm serve {shlex.quote(model)} --served-model-name {shlex.quote(name)}"


def serve_adapter(base: str, adapter: str, name: str, rank: int) -> str:
    """What serves an adapter beside the model that it lies on."""
    served = f"--enable-lora --max-lora-rank {rank} --lora-modules {shlex.quote(f'{name}={adapter}')}"
    return f"vllm serve {shlex.quote(base)} {served}"


def _of_adapter(folder: Path, name: str) -> dict[str, str]:
    """The same of an adapter; empty where what it lies on was merged for its training alone."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        said = foreign.read_object(folder / CONFIG)
        if base := str(said["base_model_name_or_path"]):
            return {"serve": serve_adapter(base, str(folder), name, int(said["r"])), "ask": ask(str(folder))}
    return {}


def ask(model: str) -> str:
    """What loads a model and asks it."""
    messages = [{"role": "user", "content": "Hello"}]
    script = f"from transformers import pipeline; print(pipeline('text-generation', {model!r})({messages}))"
    return f"python -c {shlex.quote(script) if UNSAFE & set(script) else chr(34) + script + chr(34)}"


def _reproduce(plan: Plan, one: Known, root: Path | str) -> str:
    """The line of the shortest run that has it; what is finished is not made again."""
    run = shortest(plan, one.id)
    if run is None:
        return ""
    point = run.points[0]
    here = "" if "output_dir=" in point or not site.store_option(root) else f" output_dir={shlex.quote(str(root))}"
    return f"{LAUNCH} {point}{here}"


def shortest(plan: Plan, key: str) -> Run | None:
    """The run that ends in a subject, else the shortest that goes through it, of those whose command line is known."""
    runs = [
        run for run in plan.runs if run.points and key in (run.id, run.model.id, *(stage.id for stage in run.stages))
    ]
    return min(runs, key=lambda run: (run.id != key, len(run.stages)), default=None)
