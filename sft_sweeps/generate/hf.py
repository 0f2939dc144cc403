"""The reference engine: Hugging Face models under our own decoding. Token ids in, token ids out.

Prompts are answered longest first, padded on the left, and always come with an explicit attention mask: a mask that
`generate` makes up itself when pad and eos ids are unset counts padding as text and cost 20 points of GSM8K.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from sft_sweeps import garbage
from sft_sweeps.data.encode.batches import pack
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.generate import spread
from sft_sweeps.generate.decode import Decoder
from sft_sweeps.generate.engine import CHECKED, Keep, Progress, Prompts, greedy, no_progress, not_kept, unlike
from sft_sweeps.models import weights
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.plan import engines
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.store.answers import Answer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
CHECKED_TOKENS = 8  # of a prompt of the self-check


class HFEngine:
    """A loaded model that answers prompts, on `devices`: by default as many GPUs as hold it, or the CPU."""

    def __init__(self, folder: Path, engine: Engine, devices: Sequence[str] = ()) -> None:
        with garbage.uncollected():
            import transformers.modeling_utils  # nearly all that loading a model imports

        if (major := transformers.__version__.partition(".")[0]) != engine.version:
            raise RunError(f"transformers {major} is installed, but evaluate.engine_version={engine.version}")
        # Attention is what transformers chooses: torch's function, or where a model (Gemma 2) does not take it, eager.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[engine.dtype])
        used = [torch.device(name) for name in devices or _devices(folder, engine)]
        self.device = used[0]
        self._positions = held(folder, engine).shape.max_positions
        self.model = (spread.spread(model, used) if len(used) > 1 else model.to(self.device)).eval()

    def generate(
        self, prompts: Prompts, batch_size: int, *, progress: Progress = no_progress, keep: Keep = not_kept
    ) -> list[Answer]:
        """See AnswerEngine; `progress` is called between two tokens."""
        room = [min(limit, self._positions - len(ids)) for limit, ids in zip(prompts.limits, prompts.ids, strict=True)]
        answers: dict[int, Answer] = {}

        def done(index: int, ids: list[int], finished: bool) -> None:
            answers[index] = Answer(ids, finished)
            keep(index, answers[index])

        for index in (index for index, tokens in enumerate(room) if tokens <= 0):
            done(index, [], False)
        order = sorted((n for n in range(len(prompts)) if n not in answers), key=lambda n: -len(prompts.ids[n]))
        without_room = len(answers)
        asked = replace(prompts, limits=room).select(order)
        decoder = Decoder(self.model, asked, batch_size, lambda n, ids, finished: done(order[n], ids, finished))
        decoder.run(lambda: progress(len(answers) - without_room))
        return [answers[index] for index in range(len(prompts))]

    def self_check(self, prompts: Prompts, batch_size: int) -> tuple[int, int]:
        """See AnswerEngine.

        Near ties between two tokens differ now and then (about 1 in 50 answers of 256 tokens in fp32); a lost mask or
        a wrong position makes nearly all differ. The prompts are of the most different lengths, so that there is
        padding, and half of them stop early, so that others enter beside rows at work.
        """
        count = min(CHECKED, len(prompts))
        if count < 2 or batch_size < 2:
            return 0, 0
        ids = [prompts.ids[index] for index in unlike(prompts.ids, count)]
        limits = [CHECKED_TOKENS // (1 + n % 2) for n in range(count)]
        asked = replace(greedy(ids, CHECKED_TOKENS, prompts.eos_id), limits=limits)
        alone, together = self.generate(asked, 1), self.generate(asked, min(batch_size, max(2, count // 2)))
        return count, sum(a != b for a, b in zip(alone, together, strict=True))

    @torch.inference_mode()
    def losses(self, encoded: Sequence[Encoded], progress: Progress = no_progress) -> list[tuple[float, int]]:
        """See AnswerEngine."""
        losses = []
        for example in encoded:
            losses.append(self._loss(example))
            progress(len(losses))
        return losses

    def close(self) -> None:
        """Nothing was started."""

    def _loss(self, example: Encoded) -> tuple[float, int]:
        packed = pack([example])
        ids = torch.from_numpy(packed.input_ids)[None].to(self.device)
        labels = torch.from_numpy(packed.labels).to(self.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[0].float()
        total = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        return float(total), int((labels != -100).sum())


def _devices(folder: Path, engine: Engine) -> list[str]:
    """The first GPUs that hold the model; the CPU where there is none."""
    names, gigabytes = gpus()
    if not names:
        return ["cpu"]
    return [f"cuda:{n}" for n in range(held(folder, engine).size(len(names), gigabytes))]


def gpus() -> tuple[list[str], float]:
    """(the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them, GB of one)."""
    count = torch.cuda.device_count()
    if not count:
        return [], 0.0
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    gigabytes = min(torch.cuda.get_device_properties(n).total_memory for n in range(count)) / 1e9
    return (visible or [str(n) for n in range(count)])[:count], gigabytes


def held(folder: Path, engine: Engine) -> engines.Held:
    """What a folder's config.json says of the room that the model needs."""
    config: dict[str, Any] = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    shape = read_shape(config, weights.count(Path(folder)))
    return engines.Held(str(config.get("model_type", "model")), shape, engine.dtype, engine.backend)
