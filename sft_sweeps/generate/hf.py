"""The reference engine: Hugging Face models under our own decoding. Token ids in, token ids out.

Prompts are answered longest first, padded on the left, and always come with an explicit attention mask: a mask that
`generate` makes up itself when pad and eos ids are unset counts padding as text and cost 20 points of GSM8K.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from sft_sweeps.data.encode.batches import pack
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.generate import spread
from sft_sweeps.generate.decode import Decoder, Sampling
from sft_sweeps.plan import engines
from sft_sweeps.spec import Engine, Shape
from sft_sweeps.store.answers import Answer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


CHECKED, CHECKED_TOKENS = 8, 16  # prompts and tokens of the self-check
Keep = Callable[[int, Answer], None]


class HFEngine:
    """A loaded model that answers prompts, on `devices`: by default as many GPUs as hold it, or the CPU."""

    def __init__(self, folder: Path, engine: Engine, devices: Sequence[str] = ()) -> None:
        import transformers

        if (found := transformers.__version__.partition(".")[0]) != engine.version:
            raise RunError(f"transformers {found} is installed, but evaluate.engine_version={engine.version}")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[engine.dtype], attn_implementation="sdpa")
        places = [torch.device(name) for name in devices or _devices(folder, engine)]
        self.device = places[0]
        self.model = (spread.spread(model, places) if len(places) > 1 else model.to(self.device)).eval()

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        batch_size: int,
        eos_id: int,
        progress: Callable[[int], None] = lambda _: None,
        *,
        keep: Keep = lambda _place, _answer: None,
        sampling: Sequence[tuple[float, int]] = (),
    ) -> list[Answer]:
        """The continuation of each prompt, in the prompts' order; empty where the model has no room for one.

        `keep` is told of each answer as soon as it has ended, `progress` between two tokens how many have (it may
        raise). `sampling` holds a temperature and a seed for each prompt; without it, every answer is greedy.
        """
        limits = [max_new_tokens] * len(prompts)
        return self._answers(prompts, limits, batch_size, eos_id, progress, keep=keep, sampling=sampling)

    def _answers(
        self,
        prompts: Sequence[Sequence[int]],
        limits: Sequence[int],
        batch_size: int,
        eos_id: int,
        progress: Callable[[int], None] = lambda _: None,
        *,
        keep: Keep = lambda _place, _answer: None,
        sampling: Sequence[tuple[float, int]] = (),
    ) -> list[Answer]:
        """As `generate`, with a limit of new tokens for each prompt."""
        positions = self.model.config.max_position_embeddings
        limits = [min(limit, positions - len(prompt)) for limit, prompt in zip(limits, prompts, strict=True)]
        answers: dict[int, Answer] = {}

        def done(place: int, ids: list[int], finished: bool) -> None:
            answers[place] = Answer(ids, finished)
            keep(place, answers[place])

        for place in (place for place, limit in enumerate(limits) if limit <= 0):
            done(place, [], False)
        order = sorted((place for place in range(len(prompts)) if place not in answers), key=lambda p: -len(prompts[p]))
        drawn = sampling or [(0.0, 0)] * len(prompts)
        skipped = len(answers)
        decoder = Decoder(self.model, eos_id, batch_size, lambda n, ids, finished: done(order[n], ids, finished))
        decoder.run(
            [prompts[place] for place in order],
            [Sampling(limits[place], *drawn[place]) for place in order],
            lambda: progress(len(answers) - skipped),
        )
        return [answers[place] for place in range(len(prompts))]

    def self_check(self, prompts: Sequence[Sequence[int]], batch_size: int, eos_id: int) -> tuple[int, int]:
        """(prompts checked, prompts whose first tokens depend on the batch that they are answered in).

        Near ties between two tokens differ now and then (about 1 in 50 answers of 256 tokens in fp32); a lost mask or
        a wrong position makes nearly all differ. The prompts are of the most different lengths, so that there is
        padding, and half of them stop early, so that others enter beside rows at work.
        """
        count = min(CHECKED, len(prompts))
        if count < 2 or batch_size < 2:
            return 0, 0
        some = unlike(prompts, count)
        limits = [CHECKED_TOKENS // (1 + n % 2) for n in range(count)]
        alone = self._answers(some, limits, 1, eos_id)
        together = self._answers(some, limits, min(batch_size, max(2, count // 2)), eos_id)
        return count, sum(a != b for a, b in zip(alone, together, strict=True))

    @torch.inference_mode()
    def losses(
        self, encoded: Sequence[Encoded], progress: Callable[[int], None] = lambda _: None
    ) -> list[tuple[float, int]]:
        """For each example: the summed cross-entropy (nats) of its supervised tokens, and their number."""
        found = []
        for example in encoded:
            found.append(self._loss(example))
            progress(len(found))
        return found

    def _loss(self, example: Encoded) -> tuple[float, int]:
        packed = pack([example])
        ids = torch.from_numpy(packed.input_ids)[None].to(self.device)
        labels = torch.from_numpy(packed.labels).to(self.device)
        logits = self.model(input_ids=ids, use_cache=False).logits[0].float()
        total = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum")
        return float(total), int((labels != -100).sum())


def unlike(prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """So many of the prompts, of lengths as different as there are."""
    by_length = {len(prompt): place for place, prompt in reversed(list(enumerate(prompts)))}
    first = [by_length[length] for length in sorted(by_length)]
    if len(first) > count:
        first = [first[n * (len(first) - 1) // (count - 1)] for n in range(count)]
    taken = set(first)
    rest = [place for place in range(len(prompts)) if place not in taken]
    return [list(prompts[place]) for place in [*first, *rest][:count]]


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
    heads = int(config["num_attention_heads"])
    shape = Shape(
        hidden_size=int(config["hidden_size"]),
        intermediate_size=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        vocab_size=int(config["vocab_size"]),
        max_positions=int(config["max_position_embeddings"]),
        tie_embeddings=bool(config.get("tie_word_embeddings", False)),
    )
    return engines.Held(str(config.get("model_type", "model")), shape, engine.dtype, engine.backend)
