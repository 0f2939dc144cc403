"""Examples become token ids, each with a mark on the tokens that are learnt.

Every round is encoded as a segment of its own after the end-of-sequence token of the round before, so a turn's tokens
do not depend on what stands before it (for LLaMA's tokenizer that is `legacy` behaviour, whatever its settings say).
The tokens that hold a character of the response side (the separator space belongs to it) and the round's
end-of-sequence token are supervised; the rest is given. Text is text: `</s>` in a user's message is four characters and
never a special token, unless `bug_compatible` asks for what FastChat does (data/encode/fastchat.py).

What the model is given in training is what it is given when it generates: where a tokenizer would join the last
character of the prompt side with the first of the response side, the two are encoded apart.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from sft_sweeps.data.encode import chat_template
from sft_sweeps.data.encode.fastchat import MISMATCH, Parser
from sft_sweeps.data.encode.token_cache import Ids, TextEncoder, text_encoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.template import find, generation_prompt, segments
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models.tokenizer import CHAT

NO_ANSWER = "no_answer_before_cut"
AT_ONCE = 256  # examples: bounds the memory that encoding takes


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One example as the model reads it: `supervised[i]` says that token i is learnt.

    `reason` says why nothing is, where that is so; `truncated` that tokens behind `max_length` were cut off.
    """

    id: str
    source: str
    input_ids: Ids
    supervised: npt.NDArray[np.bool_]
    truncated: bool = False
    reason: str = ""


class TemplateIds(Protocol):
    """How rounds are laid out as ids, special tokens included."""

    eos_id: int
    start: Ids  # before the first round
    anchor: Ids  # what stands before every response, to decode behind

    def rounds(self, conversations: Sequence[Sequence[tuple[str, str]]]) -> list[list[tuple[Ids, int]]]:
        """Of each conversation, each round's ids, the end-of-sequence token last, and the place of the first learnt."""

    def opening(self, rounds: Sequence[tuple[str, str]], prompt: str) -> Ids:
        """What follows the `rounds` for the model to answer `prompt`."""


class Encoder:
    """A tokenizer with a template and a length at which examples are cut on the right."""

    def __init__(self, tokenizer_folder: Path, template: str, max_length: int, *, bug_compatible: bool = False) -> None:
        self.template = template
        self.max_length = max_length
        self.bug_compatible = bug_compatible
        self._tokenizer, settings = _load(tokenizer_folder)
        self._speller = text_encoder(self._tokenizer)
        special = Special(self._tokenizer, settings, tokenizer_folder)
        self._layout: TemplateIds
        if template.startswith(CHAT):
            self._layout = chat_template.layout(tokenizer_folder, settings, template, self._tokenizer, self._speller)
        else:
            self._layout = Lines(template, self._speller, special)
        self.eos_id = self._layout.eos_id
        self.bos_id = int(self._layout.start[0]) if len(self._layout.start) else None
        self._parser = special.parser(self._speller) if bug_compatible else None
        _check(tokenizer_folder, self._tokenizer, template)

    def encode(self, example: Example) -> Encoded | None:
        """The example, or None when no supervised token stands before the cut."""
        return next((found for found in self.encoded([example]) if self.kept(found)), None)

    def encode_all(self, examples: Sequence[Example]) -> tuple[list[Encoded], dict[str, int]]:
        """The examples that have a supervised token before the cut, in their order, and how many have none."""
        results = list(self.encoded(examples))
        return [found for found in results if self.kept(found)], dict(
            Counter(found.reason for found in results if not self.kept(found))
        )

    def kept(self, encoded: Encoded) -> bool:
        """Whether it is trained on: what is masked wholly only where FastChat's faults are wanted."""
        return self.bug_compatible or not encoded.reason

    def encoded(self, examples: Iterable[Example]) -> Iterator[Encoded]:
        """Every example, also those of which nothing is learnt (`reason` says why)."""
        left = iter(examples)
        while some := list(islice(left, AT_ONCE)):
            if self._parser is not None:
                yield from (self._as_fastchat(example, self._parser) for example in some)
            else:
                laid = self._layout.rounds([example.rounds for example in some])
                yield from map(self._assemble, some, laid)

    def prompt_ids(self, rounds: Sequence[tuple[str, str]], prompt: str) -> list[int]:
        """What the model is given to answer `prompt` after `rounds`: exactly what training gives it."""
        before = [ids for ids, _ in self._layout.rounds([rounds])[0]]
        ids = np.concatenate([self._layout.start, *before, self._layout.opening(rounds, prompt)])
        return [int(token) for token in ids]

    def text_ids(self, text: str) -> list[int]:
        """A text without a template: the token that begins a text, and its ids."""
        return [*([] if self.bos_id is None else [self.bos_id]), *self._speller.ids(text).tolist()]

    def opening_ids(self, text: str) -> list[int]:
        """The ids that make an answer begin with `text`, after a prompt's."""
        own = self.template.startswith(CHAT)
        given, separator = ("\n", "") if own else (find(self.template).after, find(self.template).separator)
        ids, first = self._speller.rounds([(given, separator + text)])[0]
        return ids[first:].tolist() if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The response that these generated ids spell: up to the first eos, without the separator space."""
        answer = list(ids)
        if self.eos_id in answer:
            answer = answer[: answer.index(self.eos_id)]
        # Decoded behind what stands before every response: some decoders eat the first space of a text, some do not.
        anchor = self._layout.anchor.tolist()
        text = self._decode(anchor + answer)[len(self._decode(anchor)) :]
        return text if self.template.startswith(CHAT) else text.removeprefix(find(self.template).separator)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text alone, a begin token included, as FastChat counts a message."""
        return [count + 1 for count in self._speller.counts(texts)]

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text, special tokens written out."""
        return self._decode(list(ids))

    def _assemble(self, example: Example, rounds: list[tuple[Ids, int]]) -> Encoded:
        parts, place, learnt = [self._layout.start], len(self._layout.start), []
        for ids, first in rounds:
            if place >= self.max_length:
                break
            parts.append(ids)
            learnt.append((place + first, place + len(ids)))
            place += len(ids)
        cut = np.concatenate(parts)[: self.max_length]
        supervised = np.zeros(len(cut), dtype=np.bool_)
        for start, stop in learnt:
            supervised[start:stop] = True
        truncated = place > self.max_length or len(learnt) < len(rounds)
        return _encoded(example, cut, supervised, truncated, NO_ANSWER)

    def _as_fastchat(self, example: Example, parser: Parser) -> Encoded:
        ids, supervised, truncated = parser.encode(example.messages, find(self.template), self.max_length)
        return _encoded(example, ids, supervised, truncated, NO_ANSWER if truncated else MISMATCH)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))


class Lines:
    """The templates of `data.template`: texts between a begin and end-of-sequence tokens."""

    def __init__(self, template: str, spells: TextEncoder, special: "Special") -> None:
        self._template, self._speller = template, spells
        self.eos_id = special.eos_id
        self.start = np.array([special.bos_id], dtype=np.int32)
        self._end = np.array([special.eos_id], dtype=np.int32)
        self.anchor = spells.ids(find(template).after.strip())

    def rounds(self, conversations: Sequence[Sequence[tuple[str, str]]]) -> list[list[tuple[Ids, int]]]:
        split = [segments(self._template, rounds) for rounds in conversations]
        spelt = iter(self._speller.rounds([sides for one in split for sides in one]))
        return [[self._ended(*next(spelt)) for _ in one] for one in split]

    def opening(self, rounds: Sequence[tuple[str, str]], prompt: str) -> Ids:
        return self._speller.ids(generation_prompt(self._template, rounds, prompt))

    def _ended(self, ids: Ids, first: int) -> tuple[Ids, int]:
        return np.concatenate([ids, self._end]), first


class Special:
    """The tokens that a tokenizer's settings name, checked."""

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any], folder: Path) -> None:
        self._tokenizer, self._settings, self._folder = tokenizer, settings, folder

    @cached_property
    def bos_id(self) -> int:
        """What stands before every text."""
        return self._find("bos_token")

    @cached_property
    def eos_id(self) -> int:
        """What ends every response."""
        return self._find("eos_token")

    def parser(self, spells: TextEncoder) -> Parser:
        """What reads special tokens in text."""
        added = self._tokenizer.get_added_tokens_decoder()
        special = {token.content: place for place, token in added.items() if token.special}
        unknown = _name(self._settings.get("unk_token"))
        pad_id = self._tokenizer.token_to_id(unknown) if unknown else None
        return Parser(spells, special, self.bos_id, str(_name(self._settings["eos_token"])), pad_id)

    def _find(self, key: str) -> int:
        where, token = self._folder / vocabulary.CONFIG, _name(self._settings.get(key))
        if not isinstance(token, str):
            raise RequestError(f"{where} has no {key}. Training needs one: add it.")
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise RequestError(f"{key} {token!r} of {where} is not in the vocabulary.")
        if found in self._tokenizer.encode(token, add_special_tokens=False).ids:
            raise RequestError(
                f"{key} {token!r} of {self._folder} is found inside plain text, so a message could end itself. "
                'Mark it "special": true in tokenizer.json.'
            )
        return found


def _name(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value


def _encoded(example: Example, ids: Ids, supervised: npt.NDArray[np.bool_], truncated: bool, otherwise: str) -> Encoded:
    reason = "" if supervised.any() else otherwise
    return Encoded(example.id, example.id.rpartition("/")[0], ids, supervised, truncated, reason)


def _load(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """The tokenizer of a folder, which is that of SentencePiece where there is a model of it, and its settings."""
    if not (folder / vocabulary.FAST).is_file() and not (folder / vocabulary.SLOW).is_file():
        raise RequestError(
            f"there is no {vocabulary.FAST} in {folder}. "
            "Give the folder of a model's tokenizer: model.tokenizer=FOLDER."
        )
    try:
        if (folder / vocabulary.FAST).is_file():
            tokenizer = Tokenizer.from_file(str(folder / vocabulary.FAST))
        else:
            tokenizer = Tokenizer.from_str(vocabulary.text(folder))
    except RequestError:
        raise
    except Exception as error:  # `tokenizers` raises nothing more special
        raise RequestError(f"{folder / vocabulary.FAST} cannot be loaded ({error}). Fetch it again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    # One that changes nothing: others may trim spaces from the offsets, which hides a token across the boundary.
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    try:
        settings = vocabulary.settings(folder)
    except (OSError, ValueError) as error:
        named = f"{folder / vocabulary.CONFIG} cannot be read ({error}). It names bos_token and eos_token."
        raise RequestError(named) from None
    return tokenizer, settings


def _check(folder: Path, tokenizer: Tokenizer, template: str) -> None:
    """A tokenizer that cannot spell the template is empty or was made for something else."""
    text = "2 + 2?" if template.startswith(CHAT) else generation_prompt(template, (), "2 + 2?")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    # A decoder may eat the first space, never anything else.
    if not ids or tokenizer.decode(ids, skip_special_tokens=False).removeprefix(" ") != text:
        raise RequestError(
            f"the tokenizer in {folder} cannot spell {text!r}: it is empty, or made for other text. "
            "Use the folder that the model was published with."
        )
    vocabulary.check(folder, tokenizer)
