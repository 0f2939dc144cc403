"""The reference engine: Hugging Face `generate`, greedy. Token ids in, token ids out.

Prompts are sorted by length, padded on the left, and always come with an explicit attention mask: a mask that
`generate` makes up itself when pad and eos ids are unset counts padding as text and cost 20 points of GSM8K.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from sft_sweeps.data.batches import pack
from sft_sweeps.data.encode import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.spec import Engine

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Answer:
    """Generated token ids, without the end-of-sequence token; `finished` says that the model wrote it."""

    ids: list[int]
    finished: bool


class HFEngine:
    """A loaded model that answers prompts. `name` describes it in a generation's identity."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        import transformers

        if (found := transformers.__version__.partition(".")[0]) != engine.version:
            raise RunError(f"transformers {found} is installed, but evaluate.engine_version={engine.version}")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[engine.dtype], attn_implementation="sdpa")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).eval()
        # `generate` fills what its caller leaves open from here: a model's own repetition penalty, say.
        self.model.generation_config = GenerationConfig()

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        batch_size: int,
        eos_id: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Answer]:
        """The greedy continuation of each prompt, in the prompts' order; empty where the model has no room for one."""
        positions = self.model.config.max_position_embeddings
        limits = [min(max_new_tokens, positions - len(prompt)) for prompt in prompts]
        longest_first = sorted((i for i, limit in enumerate(limits) if limit > 0), key=lambda i: -len(prompts[i]))
        answers = [Answer([], False)] * len(prompts)
        for start in range(0, len(longest_first), batch_size):
            places = longest_first[start : start + batch_size]
            found = self._batch([prompts[i] for i in places], [limits[i] for i in places], eos_id)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
            progress(start + len(places))
        return answers

    def _batch(self, prompts: Sequence[Sequence[int]], limits: Sequence[int], eos_id: int) -> list[Answer]:
        """Each prompt is given its own number of new tokens, whatever stands beside it."""
        width = max(map(len, prompts))
        ids = torch.full((len(prompts), width), eos_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        config = GenerationConfig(
            max_new_tokens=max(limits),
            do_sample=False,
            eos_token_id=eos_id,
            pad_token_id=eos_id,  # any id does: the mask hides it
        )
        out = self.model.generate(
            input_ids=ids.to(self.device), attention_mask=mask.to(self.device), generation_config=config
        )
        rows = out[:, width:].tolist()
        return [_answer(row[:limit], eos_id) for row, limit in zip(rows, limits, strict=True)]

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


def _answer(row: list[int], eos_id: int) -> Answer:
    finished = eos_id in row
    return Answer(row[: row.index(eos_id)] if finished else row, finished)
