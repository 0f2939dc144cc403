"""The weights that are published: a model's folder, or an adapter's, whose base is the hub's.

An adapter is published alone where everybody can fetch what it lies on and no merged model was kept; else merged.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sft_sweeps.commands.publish.chosen import Chosen
from sft_sweeps.commands.publish.folder import Content, Kept
from sft_sweeps.files import foreign
from sft_sweeps.models import hub_cache
from sft_sweeps.models.adapter import CONFIG, FOLDER
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store import origins
from sft_sweeps.store.store import Store, merges_again

PLACE = "publish"  # a folder in the stage's, for as long as a merged model is copied or linked from it


def published_base(stage: Stage, store: Store) -> Model | None:
    """The hub's model that a stage is published as an adapter of; None where a whole model is published."""
    model, parts = stage.model, origins.whole(stage, store)
    alone = len(parts.adapters) == 1 and parts.whole == store.weights(model)
    return model if model.origin and alone else None


@contextmanager
def files(chosen: Chosen, checksums: Mapping[str, str]) -> Iterator[dict[str, Content]]:
    """The files by name; `checksums` are those of what the record vouches for."""
    stage, store = chosen.stage, chosen.store
    folder = store.read_folder(stage)
    if not merges_again(stage):
        yield {name: Kept(folder / "model" / name, checksum) for name, checksum in checksums.items()}
    elif base := published_base(stage, store):
        kept: dict[str, Content] = {name: Kept(folder / FOLDER / name, one) for name, one in checksums.items()}
        yield kept | {CONFIG: _config(folder / FOLDER, base)}
    else:
        with origins.whole_folder(origins.whole(stage, store), store.folder(stage) / PLACE) as whole:
            yield {path.name: Kept(path) for path in sorted(whole.iterdir())}


def _config(folder: Path, base: Model) -> str:
    """adapter_config.json, which names the base as everybody finds it."""
    _, revision = hub_cache.repository_and_revision(base.weights)
    said: dict[str, Any] = foreign.read_object(folder / CONFIG)
    said |= {"base_model_name_or_path": base.origin, "revision": revision or None}
    return json.dumps(said, indent=2, sort_keys=True) + "\n"


def rank(folder: Path) -> int:
    """The rank of the adapter in a folder, which vLLM asks for."""
    return int(foreign.read_object(folder / CONFIG)["r"])
