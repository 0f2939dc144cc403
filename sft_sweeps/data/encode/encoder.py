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
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from sft_sweeps.data.encode import chat_template
from sft_sweeps.data.encode.fastchat import MISMATCH, SpecialTokenEncoder
from sft_sweeps.data.encode.load import SpecialTokens, load_tokenizer
from sft_sweeps.data.encode.text_encoder import Ids, TextEncoder
from sft_sweeps.data.encode.token_cache import text_encoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.template import find, generation_prompt, segments
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models.tokenizer import CHAT

NO_ANSWER = "no_answer_before_cut"
AT_ONCE = 256  # examples: bounds the memory that encoding takes


class Turns(NamedTuple):
    """What became of an example's turns: learnt, given to be read, behind the cut."""

    trained: int
    prompt: int
    cut: int


NO_TURNS = Turns(0, 0, 0)


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """One example as the model reads it: `supervised[i]` says that token i is learnt.

    `reason` says why nothing is, where that is so; `truncated` that tokens behind `max_length` were cut off; `turns`
    count what was just encoded, not what is read from a store. In a mixture, an epoch shows it `repeat` times, and
    `weight` is that of its tokens in the loss.
    """

    id: str
    source: str
    input_ids: Ids
    supervised: npt.NDArray[np.bool_]
    truncated: bool = False
    reason: str = ""
    turns: Turns = NO_TURNS
    repeat: int = 1
    weight: float = 1.0


class TemplateIds(Protocol):
    """How rounds are laid out as ids, special tokens included."""

    eos_id: int
    start: Ids  # before the first round
    anchor: Ids  # what stands before every response, to decode behind
    separator: str  # what the model writes before its response

    @property
    def takes_system(self) -> bool:
        """Whether there is a place for a conversation's own system text."""

    @property
    def takes_tools(self) -> bool:
        """Whether there is a place for tools, calls of them, and what they answer."""

    def rounds(self, examples: Sequence[Example], cut: int = 0) -> list[list[tuple[Ids, int]]]:
        """Of each conversation, each round's ids, the end-of-sequence token last, and the index of the first learnt.

        Rounds that begin behind `cut` ids, where that is given, may be left out.
        """

    def prompt(self, rounds: Sequence[tuple[str, str]], prompt: str) -> Ids:
        """What the model is given to answer `prompt` after the `rounds`, behind `start`."""

    def refusal(self, example: Example) -> str:
        """Why a conversation cannot be trained on as it is written here, or ""."""


class Encoder:
    """A tokenizer with a template and a length at which examples are cut on the right."""

    def __init__(self, tokenizer_folder: Path, template: str, max_length: int, *, bug_compatible: bool = False) -> None:
        self.template = template
        self.max_length = max_length
        self.bug_compatible = bug_compatible
        self._tokenizer, settings = load_tokenizer(tokenizer_folder)
        self._text_encoder = text_encoder(self._tokenizer)
        special = SpecialTokens(self._tokenizer, settings, tokenizer_folder)
        self._template_ids: TemplateIds
        if template.startswith(CHAT):
            self._template_ids = chat_template.template_ids(
                tokenizer_folder, settings, template, self._tokenizer, self._text_encoder
            )
        else:
            self._template_ids = TextTemplateIds(template, self._text_encoder, special)
        self.eos_id = self._template_ids.eos_id
        self.bos_id = int(self._template_ids.start[0]) if len(self._template_ids.start) else None
        self.takes_system, self.takes_tools = self._template_ids.takes_system, self._template_ids.takes_tools
        self._fastchat = special.encoder(self._text_encoder) if bug_compatible else None
        _check(tokenizer_folder, self._tokenizer, template)

    def refusal(self, example: Example) -> str:
        """Why the template cannot write an example as it is, or ""."""
        return "" if self.bug_compatible else self._template_ids.refusal(example)

    def encode(self, example: Example) -> Encoded | None:
        """The example, or None when no supervised token stands before the cut."""
        return next((encoded for encoded in self.encoded([example]) if self.kept(encoded)), None)

    def encode_all(self, examples: Sequence[Example]) -> tuple[list[Encoded], dict[str, int]]:
        """The examples that have a supervised token before the cut, in their order, and how many have none."""
        results = list(self.encoded(examples))
        return [encoded for encoded in results if self.kept(encoded)], dict(
            Counter(encoded.reason for encoded in results if not self.kept(encoded))
        )

    def kept(self, encoded: Encoded) -> bool:
        """Whether it is trained on: what is masked wholly only where FastChat's faults are wanted."""
        return self.bug_compatible or not encoded.reason

    def encoded(self, examples: Iterable[Example]) -> Iterator[Encoded]:
        """Every example, also those of which nothing is learnt (`reason` says why)."""
        left = iter(examples)
        while some := list(islice(left, AT_ONCE)):
            if self._fastchat is not None:
                yield from (self._encode_as_fastchat(example, self._fastchat) for example in some)
            else:
                if any(example.system for example in some) and not self.takes_system:
                    raise ValueError(f"the template {self.template} has no place for a system text")
                if any(example.has_tools for example in some) and not self.takes_tools:
                    raise ValueError(f"the template {self.template} has no place for tools")
                rounds = self._template_ids.rounds(some, self.max_length)
                yield from map(self._assemble, some, rounds)

    def prompt_ids(self, rounds: Sequence[tuple[str, str]], prompt: str) -> list[int]:
        """What the model is given to answer `prompt` after `rounds`: exactly what training gives it."""
        ids = np.concatenate([self._template_ids.start, self._template_ids.prompt(rounds, prompt)])
        return [int(token) for token in ids]

    def text_ids(self, text: str) -> list[int]:
        """A text without a template: the token that begins a text, and its ids."""
        return [*([] if self.bos_id is None else [self.bos_id]), *self._text_encoder.ids(text).tolist()]

    def opening_ids(self, text: str) -> list[int]:
        """The ids that make an answer begin with `text`, after a prompt's."""
        given = "\n" if self.template.startswith(CHAT) else find(self.template).after
        ids, first = self._text_encoder.rounds([(given, self._template_ids.separator + text)])[0]
        return ids[first:].tolist() if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """The response that these generated ids are: up to the first eos, without the separator space."""
        answer = list(ids)
        if self.eos_id in answer:
            answer = answer[: answer.index(self.eos_id)]
        # Decoded behind what stands before every response: some decoders eat the first space of a text, some do not.
        anchor = self._template_ids.anchor.tolist()
        text = self._decode(anchor + answer)[len(self._decode(anchor)) :]
        return text.removeprefix(self._template_ids.separator)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text alone, a begin token included, as FastChat counts a message."""
        return [count + 1 for count in self._text_encoder.counts(texts)]

    def text(self, ids: Sequence[int]) -> str:
        """Ids as text, special tokens written out."""
        return self._decode(list(ids))

    def _assemble(self, example: Example, rounds: list[tuple[Ids, int]]) -> Encoded:
        parts, length, learnt = [self._template_ids.start], len(self._template_ids.start), []
        for ids, first in rounds:
            if length >= self.max_length:
                break
            parts.append(ids)
            learnt.append((length + first, length + len(ids)))
            length += len(ids)
        cut = np.concatenate(parts)[: self.max_length]
        supervised = np.zeros(len(cut), dtype=np.bool_)
        for index, (start, stop) in enumerate(learnt):
            supervised[start:stop] = index not in example.unlearnt
        truncated = length > self.max_length or len(learnt) < len(example.rounds)
        turns = _turns(example, [start < self.max_length for start, _ in learnt])
        return replace(_encoded(example, cut, supervised, truncated, NO_ANSWER), turns=turns)

    def _encode_as_fastchat(self, example: Example, encoder: SpecialTokenEncoder) -> Encoded:
        texts = find(self.template)
        ids, supervised, truncated, learnt = encoder.encode(example.messages, texts, self.max_length)
        encoded = _encoded(example, ids, supervised, truncated, NO_ANSWER if truncated else MISMATCH)
        turns = _turns(example, [bool(supervised[start:stop].any()) for start, stop in learnt])
        return replace(encoded, turns=turns)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))


class TextTemplateIds:
    """The templates of `data.template`: texts between a begin and end-of-sequence tokens."""

    def __init__(self, template: str, encoder: TextEncoder, special: SpecialTokens) -> None:
        self._template, self._text_encoder = template, encoder
        self.eos_id = special.eos_id
        self.takes_system, self.takes_tools = find(template).own_system is not None, False
        self.start = np.array([] if special.bos_id is None else [special.bos_id], dtype=np.int32)
        self._end = np.array([special.eos_id], dtype=np.int32)
        self.anchor = encoder.ids(find(template).after.strip())
        self.separator = find(template).separator

    def rounds(self, examples: Sequence[Example], cut: int = 0) -> list[list[tuple[Ids, int]]]:
        sides = [segments(self._template, example.rounds, example.system) for example in examples]
        return self._in_passes(sides, cut)

    def _in_passes(self, sides: Sequence[Sequence[tuple[str, str]]], cut: int) -> list[list[tuple[Ids, int]]]:
        """A few more rounds of each conversation in every pass, so that little behind the cut is encoded in vain."""
        done: list[list[tuple[Ids, int]]] = [[] for _ in sides]
        lengths = [len(self.start)] * len(sides)
        left, more = list(range(len(sides))), 1 if cut else max(map(len, sides), default=0)
        while left := [n for n in left if len(done[n]) < len(sides[n]) and not 0 < cut <= lengths[n]]:
            chosen = [(n, both) for n in left for both in sides[n][len(done[n]) : len(done[n]) + more]]
            encoded = self._text_encoder.rounds([both for _, both in chosen])
            for (n, _), (ids, first) in zip(chosen, encoded, strict=True):
                done[n].append(self._with_end(ids, first))
                lengths[n] += len(ids) + 1
            more *= 2
        return done

    def prompt(self, rounds: Sequence[tuple[str, str]], prompt: str) -> Ids:
        before = [ids for ids, _ in self.rounds([Example("", tuple(rounds))])[0]]
        return np.concatenate([*before, self._text_encoder.ids(generation_prompt(self._template, rounds, prompt))])

    def refusal(self, example: Example) -> str:  # noqa: ARG002
        return ""

    def _with_end(self, ids: Ids, first: int) -> tuple[Ids, int]:
        return np.concatenate([ids, self._end]), first


def _encoded(example: Example, ids: Ids, supervised: npt.NDArray[np.bool_], truncated: bool, otherwise: str) -> Encoded:
    reason = "" if supervised.any() else otherwise
    return Encoded(example.id, example.id.rpartition("/")[0], ids, supervised, truncated, reason)


def _turns(example: Example, seen: Sequence[bool]) -> Turns:
    """What became of an example's turns, of whose first rounds `seen` says whether the response is, in part at least.

    The prompt of each of these was given; what is behind them was cut.
    """
    of_rounds = example.turns_of_rounds
    known = list(zip(of_rounds, seen, strict=False))
    given = set(example.unlearnt)  # responses to be read, as prompts are
    responses = [(response, index in given) for index, ((_, response), is_seen) in enumerate(known) if is_seen]
    trained = sum(response for response, is_given in responses if not is_given)
    prompt = example.system_turns + sum(prompt for (prompt, _), _ in known)
    prompt += sum(response for response, is_given in responses if is_given)
    return Turns(trained, prompt, example.turns - trained - prompt)


def _check(folder: Path, tokenizer: Tokenizer, template: str) -> None:
    """RequestError for a tokenizer that cannot write the template: it is empty, or was made for something else."""
    text = "2 + 2?" if template.startswith(CHAT) else generation_prompt(template, (), "2 + 2?")
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    # A decoder may eat the first space, never anything else.
    if not ids or tokenizer.decode(ids, skip_special_tokens=False).removeprefix(" ") != text:
        raise RequestError(
            f"the tokenizer in {folder} cannot encode {text!r}: it is empty, or made for other text. "
            "Use the folder that the model was published with."
        )
    vocabulary.check(folder, tokenizer)
