"""The reference engine: Hugging Face models under our own decoding. Token ids in, token ids out.

Prompts are answered longest first, padded on the left, and always come with an explicit attention mask: a mask that
`generate` makes up itself when pad and eos ids are unset counts padding as text and cost 20 points of GSM8K.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from sft_sweeps.data.batches import pack
from sft_sweeps.data.encode import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.generate.decode import Decoder, Draw
from sft_sweeps.generate.rows import Answer
from sft_sweeps.spec import Engine

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


CHECKED, CHECKED_TOKENS = 8, 16  # prompts and tokens of the self-check
Keep = Callable[[int, Answer], None]


class HFEngine:
    """A loaded model that answers prompts. `name` describes it in a generation's identity."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        import transformers

        if (found := transformers.__version__.partition(".")[0]) != engine.version:
            raise RunError(f"transformers {found} is installed, but evaluate.engine_version={engine.version}")
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[engine.dtype], attn_implementation="sdpa")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).eval()

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
        positions = self.model.config.max_position_embeddings
        limits = [min(max_new_tokens, positions - len(prompt)) for prompt in prompts]
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
            [Draw(limits[place], *drawn[place]) for place in order],
            lambda: progress(len(answers) - skipped),
        )
        return [answers[place] for place in range(len(prompts))]

    def self_check(self, prompts: Sequence[Sequence[int]], batch_size: int, eos_id: int) -> tuple[int, int]:
        """(prompts checked, prompts whose first tokens depend on the batch that they are answered in).

        Near ties between two tokens differ now and then (about 1 in 50 answers of 256 tokens in fp32); a lost mask or
        a wrong position makes nearly all differ.
        """
        some = [list(prompt) for prompt in prompts[:CHECKED]]
        if len(some) < 2 or batch_size < 2:
            return 0, 0
        alone = self.generate(some, CHECKED_TOKENS, 1, eos_id)
        together = self.generate(some, CHECKED_TOKENS, min(batch_size, len(some)), eos_id)
        return len(some), sum(a != b for a, b in zip(alone, together, strict=True))

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
