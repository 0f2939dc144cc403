"""Examples become token ids, each with a mark on the tokens that are learnt.

Every round is encoded as a segment of its own after the end-of-sequence token of the round before, so a turn's tokens
do not depend on what stands before it. The tokens that hold a character of the response side (the separator space
belongs to it) and the round's end-of-sequence token are supervised; the rest is given. Text is text: `</s>` in a user's
message is four characters and never a special token.

What the model is given in training is what it is given when it generates: where a tokenizer would join the last
character of the prompt side with the first of the response side, the two are encoded apart.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from sft_sweeps.data.example import Example
from sft_sweeps.data.template import find, generation_prompt, segments
from sft_sweeps.errors import RequestError

NO_ANSWER = "no_answer_before_cut"
AT_ONCE = 256  # examples: bounds the memory that the offsets take


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One example as the model reads it: `supervised[i]` says that token i is learnt."""

    id: str
    source: str
    input_ids: npt.NDArray[np.int32]
    supervised: npt.NDArray[np.bool_]


class Encoder:
    """A tokenizer with a template and a length at which examples are cut on the right."""

    def __init__(self, tokenizer_folder: Path, template: str, max_length: int) -> None:
        self.template = template
        self.max_length = max_length
        self._tokenizer = _load(tokenizer_folder)
        config = _config(tokenizer_folder)
        self.bos_id = self._special(config, "bos_token", tokenizer_folder)
        self.eos_id = self._special(config, "eos_token", tokenizer_folder)
        self._anchor = self._ids(f"{find(template).assistant}:")
        self._check(tokenizer_folder)

    def encode(self, example: Example) -> Encoded | None:
        """The example, or None when no supervised token stands before the cut."""
        return next(self._encoded([example]))

    def encode_all(self, examples: Sequence[Example]) -> tuple[list[Encoded], dict[str, int]]:
        """The examples that have a supervised token before the cut, in their order, and how many have none."""
        results = [
            encoded
            for start in range(0, len(examples), AT_ONCE)
            for encoded in self._encoded(examples[start : start + AT_ONCE])
        ]
        kept = [encoded for encoded in results if encoded is not None]
        return kept, {NO_ANSWER: len(results) - len(kept)} if len(kept) < len(results) else {}

    def prompt_ids(self, rounds: Sequence[tuple[str, str]], prompt: str) -> list[int]:
        """What the model is given to answer `prompt` after `rounds`: exactly what training gives it."""
        ids = [self.bos_id]
        for given, learnt in segments(self.template, rounds):
            ids += [*self._segment(given, learnt, self._encode([given + learnt])[0])[0], self.eos_id]
        return ids + self._ids(generation_prompt(self.template, rounds, prompt))

    def opening_ids(self, text: str) -> list[int]:
        """The ids that make an answer begin with `text`, after a prompt's."""
        return self._ids(f" {text}") if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The response that these generated ids spell: up to the first eos, without the separator space."""
        answer = list(ids)
        if self.eos_id in answer:
            answer = answer[: answer.index(self.eos_id)]
        # Decoded behind what stands before every response: some decoders eat the first space of a text, some do not.
        text = self._decode(self._anchor + answer)[len(self._decode(self._anchor)) :]
        return text.removeprefix(" ")

    def _encoded(self, examples: Sequence[Example]) -> Iterator[Encoded | None]:
        split = [segments(self.template, example.rounds) for example in examples]
        encodings = iter(self._encode([given + learnt for sides in split for given, learnt in sides]))
        for example, sides in zip(examples, split, strict=True):
            yield self._assemble(example, sides, [next(encodings) for _ in sides])

    def _assemble(self, example: Example, sides: list[tuple[str, str]], encodings: list[Any]) -> Encoded | None:
        input_ids, spans = [self.bos_id], []
        for (given, learnt), encoding in zip(sides, encodings, strict=True):
            if len(input_ids) >= self.max_length:
                break
            ids, first = self._segment(given, learnt, encoding)
            spans.append((len(input_ids) + first, len(input_ids) + len(ids) + 1))
            input_ids += [*ids, self.eos_id]
        supervised = np.zeros(len(input_ids), dtype=np.bool_)
        for start, stop in spans:
            supervised[start:stop] = True
        supervised = supervised[: self.max_length]
        if not supervised.any():
            return None
        cut = np.array(input_ids[: self.max_length], dtype=np.int32)
        return Encoded(example.id, example.id.rpartition("/")[0], cut, supervised)

    def _segment(self, given: str, learnt: str, encoding: Any) -> tuple[list[int], int]:
        """A round's ids without eos, and the place of the first that is learnt."""
        offsets, boundary = encoding.offsets, len(given)
        first = bisect_right(offsets, boundary, key=_end)
        if first < len(offsets) and offsets[first][0] < boundary:
            prompt_side = self._ids(given)
            return prompt_side + self._ids(learnt), len(prompt_side)
        return list(encoding.ids), first

    def _encode(self, texts: list[str]) -> list[Any]:
        return list(self._tokenizer.encode_batch(texts, add_special_tokens=False))

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))

    def _special(self, config: dict[str, Any], key: str, folder: Path) -> int:
        value = config.get(key)
        token = value.get("content") if isinstance(value, dict) else value
        if not isinstance(token, str):
            raise RequestError(f"{folder / 'tokenizer_config.json'} has no {key}. Training needs one: add it.")
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise RequestError(f"{key} {token!r} of {folder / 'tokenizer_config.json'} is not in the vocabulary.")
        if found in self._ids(token):
            raise RequestError(
                f"{key} {token!r} of {folder} is found inside plain text, so a message could end itself. "
                'Mark it "special": true in tokenizer.json.'
            )
        return found

    def _check(self, folder: Path) -> None:
        """A tokenizer that cannot spell the template is empty or was made for something else."""
        text = generation_prompt(self.template, (), "2 + 2?")
        ids = self._ids(text)
        # A decoder may eat the first space, never anything else.
        if not ids or self._decode(ids).removeprefix(" ") != text:
            raise RequestError(
                f"the tokenizer in {folder} cannot spell {text!r}: it is empty, or made for other text. "
                "Use the folder that the model was published with."
            )


def _end(offset: tuple[int, int]) -> int:
    return offset[1]


def _load(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        hint = "Give the folder of a model's tokenizer: model.tokenizer=FOLDER."
        if (folder / "tokenizer.model").is_file():
            # transformers 5 orders the merges by id, so that double spaces and indentation get other ids.
            hint = "It has a tokenizer.model only, which transformers 5 converts wrongly: use a tokenizer.json of 4.33."
        raise RequestError(f"there is no tokenizer.json in {folder}. {hint}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises nothing more special
        raise RequestError(f"{path} cannot be loaded ({error}). Fetch it again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    # One that changes nothing: others may trim spaces from the offsets, which hides a token across the boundary.
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    return tokenizer


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read ({error}). It names bos_token and eos_token.") from None
    if not isinstance(value, dict):
        raise RequestError(f"{path} is no JSON object. It names bos_token and eos_token.")
    return value
