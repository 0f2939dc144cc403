"""The vLLM engine (the extra `vllm`): the same interface, token ids in, token ids out.

One replica for each group of GPUs that holds the model, each in a process of its own; the tensor-parallel size is the
smallest divisor of the attention heads whose GPUs have room for the weights. Not run by our tests: it needs a GPU.
"""

import importlib.metadata
import json
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from sft_sweeps.data.encode import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.generate.parallel import spread
from sft_sweeps.generate.rows import Answer
from sft_sweeps.spec import Engine, Shape

DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
SHARD = 256  # prompts: answers are kept after each


class VLLMEngine:
    """Replicas that are started when the first prompts come."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        try:
            found = importlib.metadata.version("vllm").partition(".")[0]
        except importlib.metadata.PackageNotFoundError as error:
            raise RunError("evaluate.engine=vllm needs vLLM: pip install 'sft-sweeps[vllm]'") from error
        if found != engine.version:
            raise RunError(f"vllm {found} is installed, but evaluate.engine_version={engine.version}")
        self.folder, self.dtype = folder, engine.dtype
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.positions = int(config["max_position_embeddings"])
        gpus, gigabytes = _gpus()
        self.size, self.replicas = spread(_shape(config), engine.dtype, gpus, gigabytes)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        _batch_size: int,
        eos_id: int,
        progress: Callable[[int], None],
        *,
        keep: Callable[[int, Answer], None],
        sampling: Sequence[tuple[float, int]],
    ) -> list[Answer]:
        """As HFEngine's; vLLM makes its own batches."""
        answers: dict[int, Answer] = {}
        limits = [min(max_new_tokens, self.positions - len(prompt)) for prompt in prompts]
        for place in (place for place, limit in enumerate(limits) if limit <= 0):
            answers[place] = Answer([], False)
            keep(place, answers[place])
        order = sorted((p for p in range(len(prompts)) if p not in answers), key=lambda p: -len(prompts[p]))
        shards = [order[start : start + SHARD] for start in range(0, len(order), SHARD)]
        context = multiprocessing.get_context("spawn")
        counter = context.Value("i", 0)
        arguments = (str(self.folder), DTYPES[self.dtype], self.size, self.positions, counter)
        with ProcessPoolExecutor(self.replicas, context, _start, arguments) as pool:
            futures = {}
            for shard in shards:
                work = [(list(prompts[p]), limits[p], *(sampling[p] if sampling else (0.0, 0))) for p in shard]
                futures[pool.submit(_answer, work, eos_id)] = shard
            for future in as_completed(futures):
                for place, (ids, finished) in zip(futures[future], future.result(), strict=True):
                    answers[place] = Answer(ids, finished)
                    keep(place, answers[place])
                progress(len(answers))
        return [answers[place] for place in range(len(prompts))]

    def self_check(self, _prompts: Sequence[Sequence[int]], _batch_size: int, _eos_id: int) -> tuple[int, int]:
        """vLLM's batches are its own; VLLM_BATCH_INVARIANT=1 makes it independent of them where it can."""
        return 0, 0

    def losses(self, _encoded: Sequence[Encoded], _progress: Callable[[int], None]) -> list[tuple[float, int]]:
        """Not offered: the reference engine takes losses."""
        raise RunError("evaluate.engine=vllm takes no losses; set evaluate.engine=hf")


_replica: Any = None


def _start(folder: str, dtype: str, size: int, positions: int, counter: Any) -> None:
    """In a replica's process: its GPUs, then its model."""
    global _replica  # noqa: PLW0603
    with counter.get_lock():
        place, counter.value = counter.value, counter.value + 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = visible.split(",") if visible else [str(n) for n in range(_gpus()[0])]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices[place * size : (place + 1) * size])
    from vllm import LLM

    _replica = LLM(
        model=folder,
        tensor_parallel_size=size,
        dtype=dtype,
        max_model_len=positions,
        skip_tokenizer_init=True,
        generation_config="vllm",  # not the model's own
    )


def _answer(work: Sequence[tuple[list[int], int, float, int]], eos_id: int) -> list[tuple[list[int], bool]]:
    from vllm import SamplingParams, TokensPrompt

    settings = [
        SamplingParams(max_tokens=limit, temperature=heat, seed=seed, stop_token_ids=[eos_id], detokenize=False)
        for _, limit, heat, seed in work
    ]
    found = _replica.generate([TokensPrompt(prompt_token_ids=ids) for ids, *_ in work], settings, use_tqdm=False)
    outputs = [one.outputs[0] for one in found]
    return [_ended([int(token) for token in output.token_ids], eos_id) for output in outputs]


def _ended(ids: list[int], eos_id: int) -> tuple[list[int], bool]:
    finished = eos_id in ids
    return (ids[: ids.index(eos_id)] if finished else ids), finished


def _gpus() -> tuple[int, float]:
    """(GPUs that this process may use, GB of one)."""
    import torch

    count = torch.cuda.device_count()
    if not count:
        raise RunError("evaluate.engine=vllm needs a GPU; set evaluate.engine=hf")
    return count, torch.cuda.get_device_properties(0).total_memory / 1e9


def _shape(config: dict[str, Any]) -> Shape:
    heads = int(config["num_attention_heads"])
    return Shape(
        hidden_size=int(config["hidden_size"]),
        intermediate_size=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        vocab_size=int(config["vocab_size"]),
        max_positions=int(config["max_position_embeddings"]),
        tie_embeddings=bool(config.get("tie_word_embeddings", False)),
    )
