"""Representations of queries: hidden states of a model, one prompt at a time, so that none depends on its batch.

What is done for a source has its record, so that a job that was killed goes on with the next source. The first token is
left out of a mean: it is the same for all prompts, and in many models its state is a thousand times as long as any
other (Sun et al. 2024, arXiv 2402.17762), so that a mean with it tells the lengths of the prompts and little else.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sft_sweeps.data.encode.encoded_source import EncodedSource
from sft_sweeps.data.encode.mixture import source_finder
from sft_sweeps.data.encode.text_encoder import Ids
from sft_sweeps.errors import Interrupted, RunError
from sft_sweeps.files import fence
from sft_sweeps.files.json_files import write_json
from sft_sweeps.generate.hf import HFEngine
from sft_sweeps.jobs.job import PROGRESS
from sft_sweeps.plan.build import Subject
from sft_sweeps.plan.engines import HF
from sft_sweeps.spec.evaluation import Engine, Queries, Representations
from sft_sweeps.store.answers import ITEMS, write_rows
from sft_sweeps.store.origins import whole, whole_folder
from sft_sweeps.store.store import VECTORS, Store, write_record

Stop = Callable[[], bool]
Vectors = npt.NDArray[np.float32]
PROGRESS_SECONDS = 2.0  # between two notes of progress
log = logging.getLogger(__name__)


def represent(subject: Subject, wanted: Sequence[Representations], store: Store, stop: Stop) -> None:
    """Take those of a subject's representations that are missing."""
    engines: dict[str, HFEngine] = {}
    with whole_folder(whole(subject, store), store.folder(subject) / "represent") as weights:
        for one in wanted:
            if store.record(one) is not None:
                continue
            asked = list(asked_of(one, store))
            version = HF.version("")
            if one.dtype not in engines:
                engine = Engine(HF.name, version.partition(".")[0], one.dtype)
                engines[one.dtype] = HFEngine(weights, engine)
            _take(one, asked, engines[one.dtype], store, stop)


def asked_of(one: Representations, store: Store) -> Sequence[tuple[str, Ids]]:
    """The queries as token ids, each with the id of its example, from the source as it is encoded for the model."""
    queries = one.queries
    find = source_finder(store.tokenizer(one.subject), queries.template, queries.max_length, store.roots)
    return prompts(find(queries.source), queries)


def prompts(source: EncodedSource, queries: Queries) -> list[tuple[str, Ids]]:
    """The last examples of a source's order that differ in their prompts, of each group one; RunError for too few."""
    groups, taken = source.groups(), set[str]()
    found: dict[bytes, tuple[str, Ids]] = {}
    for index in reversed(source.order(queries.seed)):
        if len(found) == queries.examples:
            break
        example = source.encoded(index)
        prompt = example.input_ids[: int(example.supervised.argmax())]
        if example.reason or not len(prompt) or groups[index] in taken:
            continue
        taken.add(groups[index])
        found.setdefault(prompt.tobytes(), (example.id, prompt))
    if len(found) < queries.examples:
        raise RunError(
            f"{source.name} has {len(found):,} different prompts, analysis.representations.queries={queries.examples} "
            f"were asked for; launch again with analysis.representations.queries={len(found)} or fewer"
        )
    return list(found.values())


def _take(one: Representations, asked: Sequence[tuple[str, Ids]], engine: HFEngine, store: Store, stop: Stop) -> None:
    """Take the representations of one source's queries and write them, the record last."""
    started, progress_at = time.monotonic(), 0.0
    name, rows = one.queries.source.name, list[Vectors]()
    for _, ids in asked:
        if stop():
            raise Interrupted(f"{one.subject.label} stopped after {len(rows)} queries of {name}; launch again to go on")
        rows.append(pooled(hidden_states(engine, ids, one.layer), one.pooling))
        if time.monotonic() - progress_at > PROGRESS_SECONDS:
            progress_at = time.monotonic()
            _progress(store.folder(one.subject) / "represent", name, len(rows), len(asked))
    vectors = np.stack(rows)
    if not np.isfinite(vectors).all():
        raise RunError(f"hidden states of {one.subject.label} are no finite numbers; is its model sound?")
    folder = store.representations(one)
    write_rows(folder / ITEMS, ({"id": key, "tokens": len(ids)} for key, ids in asked))
    save(folder / VECTORS, vectors)
    extra = {"n": len(rows), "width": vectors.shape[1], "seconds": round(time.monotonic() - started, 3)}
    execution = {"engine": HF.title, "version": HF.version(""), "device": str(engine.device)}
    write_record(folder, one.payload, [VECTORS, ITEMS], {**extra, "execution": execution})


def _progress(folder: Path, name: str, done: int, of: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / PROGRESS, {"what": name, "done": done, "of": of}, durable=False)
    log.info("%s: %d of %d queries", name, done, of)


@torch.inference_mode()
def hidden_states(engine: HFEngine, ids: Ids, layer: int) -> torch.Tensor:
    """`hidden_states[layer]` of a prompt, [tokens, width] in fp32."""
    tokens = torch.as_tensor(np.asarray(ids, dtype=np.int64), device=engine.device)[None]
    decoder: Any = engine.model.get_decoder()  # without the head, which nobody asks
    states = decoder(input_ids=tokens, use_cache=False, output_hidden_states=True).hidden_states
    if layer >= len(states):
        raise RunError(f"the model has {len(states) - 1} layers, representations of layer {layer} were asked for")
    state: torch.Tensor = states[layer][0].float().cpu()
    return state


def pooled(states: torch.Tensor, pooling: str) -> Vectors:
    """One vector of a prompt's states: the last token's, or the mean over all but the first."""
    one = states[-1] if pooling == "last" or len(states) == 1 else states[1:].mean(dim=0)
    vector: Vectors = one.numpy().astype(np.float32)
    return vector


def save(path: Path, vectors: Vectors) -> None:
    """As .npy, at once: a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing{fence.token()}")
    with temporary.open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    fence.publish(temporary, path)
