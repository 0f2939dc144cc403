"""The card of a published model: README.md, with the header that the hub reads."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from sft_sweeps import __version__
from sft_sweeps.commands.publish import licences, results
from sft_sweeps.commands.publish.chosen import Chosen
from sft_sweeps.commands.publish.evidence import ScoreLine, run_of, stage_folder
from sft_sweeps.commands.publish.markdown import render
from sft_sweeps.commands.publish.weights import published_base, rank
from sft_sweeps.commands.show.facts import ask, mixture, recorded, serve, serve_adapter
from sft_sweeps.models import hub_cache
from sft_sweeps.models.adapter import FOLDER
from sft_sweeps.report.page import text
from sft_sweeps.report.page.costs import gpu_hours
from sft_sweeps.report.page.runs import took
from sft_sweeps.spec.data import Source
from sft_sweeps.spec.training import Model, Recipe, Stage
from sft_sweeps.tracking import metrics

HERE = "."  # the folder itself, for commands that are typed in it
LIBRARY, TASK = "transformers", "text-generation"
SHOWN = ("device", "processes", "torch", "transformers", "deepspeed")  # of what a stage ran on
# Of a command line, what is of the site that typed it and changes no result.
OF_THE_SITE = ("output_dir", "cluster", "tracking", "store", "sandbox", "deepspeed", "hydra", "name", "data.folder")
INTERNAL = "base_url"
PATH = re.compile(r"(?<=[=,\[])~?/[^\s,\]]*")


def card(chosen: Chosen, lines: Sequence[ScoreLine], missing: Sequence[str], name: str) -> str:
    """The card; `name` is what the model is loaded by: its repository of the hub, or its folder."""
    from huggingface_hub import ModelCardData

    return f"---\n{ModelCardData(**_header(chosen, lines)).to_yaml()}\n---\n\n" + render(
        "model.md.j2", context(chosen, lines, missing, name)
    )


def _header(chosen: Chosen, lines: Sequence[ScoreLine]) -> dict[str, Any]:
    model = chosen.stage.model
    sources = [c.source for stage in chosen.stage.chain for c in stage.mixture.components]
    hub = [source.content.removeprefix("hub:").partition("@")[0] for source in sources if _of_hub(source.content)]
    found: dict[str, Any] = {
        **licences.header(_licences(chosen.stage)),
        "library_name": "peft" if published_base(chosen.stage, chosen.store) else LIBRARY,
        "pipeline_tag": TASK,
        "tags": ["sft-sweeps", "supervised-fine-tuning"],
        "base_model": model.origin or None,
        "datasets": list(dict.fromkeys(hub)) or None,
    }
    if lines:
        found |= {"model_name": chosen.label, "eval_results": results.model_index(lines)}
    return {key: value for key, value in found.items() if value is not None}


def _of_hub(content: str) -> bool:
    return content.startswith("hub:")


def _licences(stage: Stage) -> list[str]:
    sources = [c.source.licence for one in stage.chain for c in one.mixture.components]
    return [stage.model.licence, *sources]


def context(chosen: Chosen, lines: Sequence[ScoreLine], missing: Sequence[str], name: str) -> dict[str, Any]:
    """Everything that the template shows."""
    stage = chosen.stage
    run = run_of(chosen.plan, stage)
    return {
        "label": chosen.label,
        "id": stage.id,
        "version": __version__,
        "base": base(stage.model),
        "base_licence": licences.shown(stage.model.licence),
        "licence": licences.together(_licences(stage)),
        "question": chosen.sweeps[0].question,
        "stages": [_stage(chosen, number) for number in range(len(stage.chain))],
        "recipe": list(_recipe([one.recipe for one in stage.chain])),
        "scores": [_score(line) for line in lines],
        "base_scored": any(line.against for line in lines),
        "missing": [text.title(one) for one in missing],
        "reproduce": f"sft-sweeps launch {public(run.points[0])}" if run.points else "",
        "here": name == HERE,
        "serve": _serve(chosen, name),
        "adapter": how_adapted(chosen),
        "ask": ask(name),
    }


def _serve(chosen: Chosen, name: str) -> str:
    """What serves it; an adapter beside the model that it lies on."""
    stage = chosen.stage
    if not (model := published_base(stage, chosen.store)):
        return serve(name, stage.id)
    return serve_adapter(model.origin, name, stage.id, rank(chosen.store.read_folder(stage) / FOLDER))


def how_adapted(chosen: Chosen) -> str:
    """What of it an adapter is; empty where all weights were trained."""
    if not chosen.stage.recipe.adapter:
        return ""
    if model := published_base(chosen.stage, chosen.store):
        return f"This is a LoRA adapter alone: it needs the weights of {model.origin}, and PEFT to load it."
    return "It was trained as a LoRA adapter, which is merged into these weights."


def base(model: Model) -> str:
    """What the base model is, in words."""
    if model.initialised:
        how = ", pretrained on generated text" if model.pretrained else ""
        return f"{model.name}, made by sft-sweeps from seed {model.seed}{how}"
    of = f", said to be {model.origin}," if model.origin else ""
    if revision := hub_cache.repository_and_revision(model.weights)[1]:
        return f"{model.origin or model.name} at revision {revision}"
    return f"{model.name}{of} with weights {model.weights}"


def public(point: str) -> str:
    """A command line without what is only of the site that typed it; of a file's path its name."""
    words = [word for word in point.split() if not _private(word.lstrip("+~").partition("=")[0])]
    return " ".join(PATH.sub(lambda found: PurePath(found[0]).name, word) for word in words)


def _private(key: str) -> bool:
    of_site = any(key == one or key.startswith((f"{one}.", f"{one}@")) for one in OF_THE_SITE)
    return of_site or key.endswith(INTERNAL)


def _stage(chosen: Chosen, number: int) -> dict[str, Any]:
    stage, folder = chosen.stage.chain[number], stage_folder(chosen, number)
    record = recorded(folder)
    execution = record.get("execution", {})
    shown = [f"{key} {execution[key]}" for key in SHOWN if key in execution]
    hours = record.get("gpu_hours") or gpu_hours(stage, record)
    last = metrics.whole(record.get("last"))
    return {
        "number": number + 1,
        "id": stage.id,
        "steps": stage.steps,
        "loss": f"{last['loss']:.3f}" if isinstance(last.get("loss"), float) else "",
        "took": took(record),
        "gpu_hours": f"{hours:,.2f} GPU-hours" if hours else "no GPU",
        "execution": ", ".join(shown),
        "sources": list(_sources(stage, list(mixture(stage.payload, stage, folder)))),
    }


def _sources(stage: Stage, counted: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    counts = {part["source"]: part for part in counted}
    for component in stage.mixture.components:
        source = component.source
        yield {
            "name": source.name,
            "ability": source.ability,
            "fraction": str(component.fraction),
            "examples": f"{counts[source.name]['examples']:,}",
            "licence": licences.shown(source.licence),
            "origin": _origin(source),
            "content": source.content,
        }


def _origin(source: Source) -> str:
    made = "made by sft-sweeps" if source.rows_from == "generated" else "not stated"
    return source.origin or made


def _recipe(recipes: Sequence[Recipe]) -> Iterator[tuple[str, str]]:
    """Each field once; where stages differ in it, stage by stage."""
    for field in fields(Recipe):
        values = [str(getattr(recipe, field.name)) for recipe in recipes]
        if field.name == "adapter" and not any(recipe.adapter for recipe in recipes):
            continue
        yield field.name, values[0] if len(set(values)) == 1 else ", then ".join(values)


def _score(line: ScoreLine) -> dict[str, str]:
    one, against = line.observed, line.against
    of = f" of {line.total:,}" if line.scored.n < line.total else ""
    interval = f"{text.number(one, one.low)} to {text.number(one, one.high)}"
    return {
        "benchmark": text.title(one.benchmark),
        "metric": results.NAMES.get(one.metric, one.metric),
        "value": text.number(one, one.value) + (" %" if one.share else ""),
        "n": f"{one.n:,}{of}",
        "interval": interval,
        "against": text.difference(one, against.difference) if against else "not compared",
        "sure": ("yes" if against.sure else "no") if against else "",
        "note": results.note(line),
    }
