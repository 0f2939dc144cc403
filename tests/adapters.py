"""Finished stages that trained an adapter, in a store, without the training."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import values

from sft_sweeps.models import merging, weights
from sft_sweeps.models.adapter import BESIDE, CONFIG, FOLDER, linear_layers
from sft_sweeps.spec.adapter import Adapter
from sft_sweeps.spec.data import Mixture
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import Store, write_record

LORA = Adapter("lora", rank=2, alpha=4.0)
SAID = f'{{"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": {LORA.rank}, "lora_alpha": {LORA.alpha}, %s}}'
TARGETS = '"base_model_name_or_path": "", "target_modules": ["q_proj", "down_proj"]'


def chained(base: Model, *thens: str) -> list[Stage]:
    """Stages one after the other, each of which makes that of its parent's adapter."""
    stages: list[Stage] = []
    for number, then in enumerate(thens):
        recipe = replace(values.RECIPE, adapter=replace(LORA, then=then))  # type: ignore[arg-type]
        parent = stages[-1] if stages else base
        stages.append(Stage(parent, Mixture((values.component(f"source{number}", "math"),)), recipe.after(parent)))
    return stages


def finish(store: Store, stage: Stage, whole: Path, *, seed: int = 0, merged: bool = False, **extra: Any) -> Path:
    """An adapter of random weights on q_proj and down_proj of a model, `whole`, with the record of its training."""
    folder, stream = store.folder(stage), np.random.RandomState(seed)
    place = folder / FOLDER
    place.mkdir(parents=True)
    shapes = linear_layers({name: one.shape for name, one in weights.tensors(whole).items()})
    rank, scaled = LORA.rank, {n: s for n, s in shapes.items() if n.endswith(("q_proj", "down_proj"))}
    drawn = {
        n: tuple(stream.normal(size=size).astype(np.float32) for size in ((rank, i), (o, rank)))
        for n, (o, i) in scaled.items()
    }
    merging.write(place, drawn)  # type: ignore[arg-type]
    (place / CONFIG).write_text(SAID % TARGETS, encoding="utf-8")
    for name in BESIDE:
        if (whole / name).is_file():
            shutil.copyfile(whole / name, place / name)
    if merged:
        merging.merge(merging.Parts(whole, (place,)), folder / "model")
    write_record(folder, stage.payload, [f"{FOLDER}/{path.name}" for path in sorted(place.iterdir())], extra)
    return place
