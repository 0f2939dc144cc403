"""`train.template=chat_template`: the tokenizer's own chat template.

What a template writes of a conversation is taken apart into the texts and what stands between (chat_layout.py). Only
between texts are special tokens parsed, never in a message.

Supervised is each response with the special token that ends it, or, where the template marks it with
`{% generation %}`, what is marked; in both cases no more than follows what the template writes to ask for a response.
An empty block of thoughts that the template adds is given, never learnt. A template that changes the texts beyond
trimming them, or does not end a response with a special token, is refused.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.chat_layout import Layout, Layouts
from sft_sweeps.data.encode.template_renderer import CLOSE, OPEN, Renderer, without_marks
from sft_sweeps.data.encode.text_encoder import Ids, Sides, TextEncoder
from sft_sweeps.data.encode.tool_layout import CHANGED, EMPTY_THOUGHT, GUARD, ToolLayouts
from sft_sweeps.data.example import Example
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models.tokenizer import CHAT

ASKS_FOR_THOUGHTS = re.compile(r"(?:<?\w+>)?\s*(?:</\w+>\s*)?")
PROBES = ((" a b ", "\nc\n"), ("  d", "e  "))
ANSWER = "x"  # in place of a response that is not there yet
Piece = str | int  # text to be encoded, or a special token's id


class WrittenRound(NamedTuple):
    """A round as the template writes it.

    `learnt` is what the model is to write before its response, where special tokens are in it. The last text before the
    response and the response are encoded together where no special token parts them: `sides`. `end` begins with the
    token that ends the response, or, of a call of tools, with the first special token in it.
    """

    given: Sequence[Piece]
    learnt: Sequence[Piece]
    sides: Sides
    end: Sequence[Piece]


def template_ids(
    folder: Path, settings: dict[str, Any], template: str, tokenizer: Tokenizer, text_encoder: TextEncoder
) -> "ChatTemplateIds":
    """A folder's chat template, ready to encode rounds; RequestError where it is not the planned one."""
    text = vocabulary.chat_template(folder)
    if template not in (CHAT, pin := vocabulary.chat_template_pin(text)):
        raise RequestError(f"the chat template of {folder} is not the planned one ({pin}, planned {template})")
    template_trial.check(text, settings, str(folder))
    return ChatTemplateIds(Renderer(text, settings), tokenizer, text_encoder, folder)


class ChatTemplateIds:
    """Encodes rounds as a chat template writes them (encoder.TemplateIds)."""

    def __init__(self, render: Renderer, tokenizer: Tokenizer, text_encoder: TextEncoder, folder: Path) -> None:
        self._text_encoder, self._marks_answers = text_encoder, render.marks_answers
        added = tokenizer.get_added_tokens_decoder()
        self._special = {token.content: token_id for token_id, token in added.items() if token.special}
        self._text_of = {token_id: content for content, token_id in self._special.items()}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else re.compile("(?!)")
        self.start = np.zeros(0, dtype=np.int32)
        self._layouts = Layouts(render)
        if wrong := self._wrong():
            raise RequestError(
                f"the chat template of {folder} {wrong}. Choose another train.template, e.g. vicuna_v1.1."
            )
        self._tool_layouts = ToolLayouts(render, self._cut)
        self.takes_system = self._layouts.takes_system
        before_response, behind = self._layouts.literals(2)[3:5]
        self.eos_id = next(piece for piece in self._pieces(without_marks(behind)) if isinstance(piece, int))
        given, self.separator = self._asked_and_learnt(before_response, 2)
        self.anchor = self._encode(list(self._pieces(given)))

    def _wrong(self) -> str:
        """Why the template cannot be followed, or ""."""
        try:
            literals = self._layouts.literals(2)
        except ValueError as error:
            return f"fails: {error}"
        behind = literals[2], literals[4]
        text, asked = without_marks(literals[3]), self._layouts.asked(2)
        if self._layouts.of(PROBES) is None:
            return "changes the messages, so that what is trained and what is given would differ"
        if not ASKS_FOR_THOUGHTS.fullmatch(asked, len(_shared(text, asked))):
            return "asks for an answer in another way than it writes one"
        if not all(isinstance(next(self._pieces(without_marks(one)), None), int) for one in behind):
            return "does not end a response with a special token"
        marked = all(OPEN in one for one in (literals[1], literals[3]))
        if self._marks_answers and not (marked and all(len(self._end(one)[0]) > 0 for one in behind)):
            return "marks some responses with {% generation %} but not all, or not the tokens that end them"
        return ""

    @property
    def takes_tools(self) -> bool:
        """Whether the template writes tools, calls of them, and what they answer."""
        return self._tool_layouts.takes_tools

    def refusal(self, example: Example) -> str:
        """Why a conversation cannot be trained on as this template writes it, or ""."""
        if example.has_tools:
            return found if isinstance(found := self._tool_layouts.of(example), str) else ""
        return CHANGED if self._layouts.of(example.rounds, example.system) is None else ""

    def rounds(
        self,
        examples: Sequence[Example],
        cut: int = 0,  # noqa: ARG002 -- what is written of a round may depend on later ones
    ) -> list[list[tuple[Ids, int]]]:
        written = [list(self._written_of(example)) for example in examples]
        encoded = self._encode_rounds([one for of in written for one in of])
        return [[next(encoded) for _ in of] for of in written]

    def prompt(self, rounds: Sequence[tuple[str, str]], prompt: str) -> Ids:
        *before, last = self._written(self._layout((*rounds, (prompt, ANSWER)), ""))
        ids = [ids for ids, _ in self._encode_rounds(before)]
        return np.concatenate([*ids, self._encode([*last.given, last.sides[0]])])

    def _written_of(self, example: Example) -> Iterator[WrittenRound]:
        if not example.has_tools:
            yield from self._written(self._layout(example.rounds, example.system), bool(example.system))
            return
        spans = self._tool_layouts.of(example)
        if isinstance(spans, str):
            raise ValueError(f"{example.id} cannot be written: {spans}")
        stop = 0
        for start, end in spans.learnt:
            given, learnt = (list(self._pieces(spans.written[a:b])) for a, b in ((stop, start), (start, end)))
            last = str(given.pop()) if given and isinstance(given[-1], str) else ""
            first = str(learnt.pop(0)) if isinstance(learnt[0], str) else ""
            yield WrittenRound(given, [], (last, first), learnt)
            stop = end

    def _layout(self, rounds: Sequence[tuple[str, str]], system: str) -> Layout:
        """What a model answered may be what the template changes: such a text is written as it is."""
        texts = [text for both in rounds for text in both]
        plain = Layout(self._layouts.literals(len(rounds), bool(system)), tuple([system, *texts] if system else texts))
        return self._layouts.of(tuple(rounds), system) or plain

    def _written(self, layout: Layout, system: bool = False) -> Iterator[WrittenRound]:
        literals, texts = layout
        before = without_marks(literals[0]) if not system else ""
        opening = (
            [*self._pieces(without_marks(literals[0])), texts[0], *self._pieces(without_marks(literals[1]))]
            if system
            else []
        )
        for index in range(system, len(texts), 2):
            asked, learnt = self._asked_and_learnt(literals[index + 1], index // 2 + 1)
            given = _merged([*opening, *self._pieces(before), texts[index], *self._pieces(asked)])
            end, before = self._end(literals[index + 2])
            opening = []
            learnt_pieces = list(self._pieces(learnt))
            if any(isinstance(piece, int) for piece in learnt_pieces):
                last = str(learnt_pieces.pop()) if isinstance(learnt_pieces[-1], str) else ""
                yield WrittenRound(given, learnt_pieces, ("", last + texts[index + 1]), end)
            else:
                last = str(given.pop()) if given and isinstance(given[-1], str) else ""
                yield WrittenRound(given, [], (last, learnt + texts[index + 1]), end)

    def _asked_and_learnt(self, literal: str, rounds: int) -> tuple[str, str]:
        """What stands between the prompt and the response of a round: what is given, and what the model is to write."""
        text, asked = without_marks(literal), self._layouts.asked(rounds)
        if text.startswith(asked):
            place = len(asked)
        elif self._marks_answers:
            place = sum(map(self._length, _shared(list(self._pieces(text)), list(self._pieces(asked)))))
        else:
            place = len(text)
        if self._marks_answers:
            place = max(place, len(without_marks(literal[: literal.rfind(OPEN)])))
        if EMPTY_THOUGHT.fullmatch(text, place):
            place = len(text)
        return text[:place], text[place:]

    def _end(self, literal: str) -> tuple[list[Piece], str]:
        """What is learnt behind a response, the token that ends it first, and the rest."""
        text = without_marks(literal)
        token = self._cut.match(text)
        learnt = len(token[0]) if token else 0
        if self._marks_answers:
            marked = len(without_marks(literal[: literal.rfind(CLOSE)]))
            learnt = marked if marked >= learnt else 0
        return list(self._pieces(text[:learnt])), text[learnt:]

    def _encode_rounds(self, rounds: Sequence[WrittenRound]) -> Iterator[tuple[Ids, int]]:
        """Many at once, which is several times as fast."""
        pieces = [piece for one in rounds for some in (one.given, one.learnt, one.end) for piece in some]
        texts = list(dict.fromkeys(piece for piece in pieces if isinstance(piece, str)))
        ids_of = dict(zip(texts, self._text_encoder.batch(texts), strict=True))
        sides = self._text_encoder.rounds([one.sides for one in rounds])
        for one, (both, first) in zip(rounds, sides, strict=True):
            given, learnt, end = (
                [ids_of[piece] if isinstance(piece, str) else _one(piece) for piece in some]
                for some in (one.given, one.learnt, one.end)
            )
            yield np.concatenate([*given, *learnt, both, *end]), sum(map(len, given)) + first

    def _encode(self, pieces: Sequence[Piece]) -> Ids:
        parts = [_one(piece) if isinstance(piece, int) else self._text_encoder.ids(piece) for piece in _merged(pieces)]
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts]).astype(np.int32)

    def _length(self, piece: Piece) -> int:
        return len(self._text_of[piece]) if isinstance(piece, int) else len(piece)

    def _pieces(self, text: str) -> Iterator[Piece]:
        for part in self._cut.split(text):
            if part:
                yield self._special.get(part, part.replace(GUARD, ""))


def _shared(one: Sequence[Piece], other: Sequence[Piece]) -> list[Piece]:
    """What both begin with."""
    return [mine for mine, _ in takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False))]


def _one(token: int) -> Ids:
    return np.array([token], dtype=np.int32)


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Texts that no special token parts are encoded as one."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        elif piece != "":
            merged.append(piece)
    return merged
