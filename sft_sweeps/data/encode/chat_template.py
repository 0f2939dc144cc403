"""`train.template=chat_template`: the tokenizer's own chat template.

The template is rendered over messages whose texts are marks; between the marks stands what it writes around them. Only
there are special tokens parsed, never in a message. Supervised is each response with the special token that ends it. A
template that changes the texts, or does not end a response with a special token, is refused.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.template_renderer import renderer
from sft_sweeps.data.encode.text_encoder import Ids, Sides, TextEncoder
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models.tokenizer import CHAT

MARK = "\ue000{}\ue001"  # private use: in no template
MARKED = re.compile("\ue000(\\d+)\ue001")
SYSTEM_MARK = "9" * 9
Piece = str | int  # text to be encoded, or a special token's id


class WrittenRound(NamedTuple):
    """A round as the template writes it, with the token that ends it.

    The last text of the given side and the response are encoded together where no special token parts them: `sides`.
    """

    given: Sequence[Piece]
    sides: Sides
    end: int


def template_ids(
    folder: Path, settings: dict[str, Any], template: str, tokenizer: Tokenizer, text_encoder: TextEncoder
) -> "ChatTemplateIds":
    """A folder's chat template, ready to encode rounds; RequestError where it is not the planned one."""
    text = vocabulary.chat_template(folder)
    if template not in (CHAT, pin := vocabulary.chat_template_pin(text)):
        raise RequestError(f"the chat template of {folder} is not the planned one ({pin}, planned {template})")
    template_trial.check(text, settings, str(folder))
    return ChatTemplateIds(text, settings, tokenizer, text_encoder, folder)


class ChatTemplateIds:
    """Encodes rounds as a chat template writes them (encoder.TemplateIds)."""

    def __init__(
        self, text: str, settings: dict[str, Any], tokenizer: Tokenizer, text_encoder: TextEncoder, folder: Path
    ) -> None:
        self._folder, self._text_encoder = folder, text_encoder
        self._render = renderer(text, settings)
        added = tokenizer.get_added_tokens_decoder()
        self._special = {token.content: token_id for token_id, token in added.items() if token.special}
        longest_first = sorted(self._special, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else re.compile("(?!)")
        self.start = np.zeros(0, dtype=np.int32)
        self._check()
        last = self._around(1)[2][0]
        self.eos_id = int(last) if isinstance(last, int) else -1
        before = self._around(1)[1]
        self.anchor = self._encode(list(before))

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template writes a conversation's own system text, before everything else that is said."""
        try:
            whole = self._text([MARK.format(index) for index in range(4)], system=MARK.format(SYSTEM_MARK))
        except RequestError:  # it raises where there is one
            return False
        return MARKED.findall(whole) == [SYSTEM_MARK, "0", "1", "2", "3"]

    @cached_property
    def _strips_system(self) -> bool:
        return "  x  " not in self._text(["a", "b"], system="  x  ")

    def rounds(
        self,
        conversations: Sequence[Sequence[tuple[str, str]]],
        systems: Sequence[str] = (),
        cut: int = 0,  # noqa: ARG002 -- what is written of a round may depend on later ones
    ) -> list[list[tuple[Ids, int]]]:
        pairs = zip(conversations, systems or [""] * len(conversations), strict=True)
        written = [list(self._written(rounds, system)) for rounds, system in pairs]
        encoded = self._encode_rounds([one for of in written for one in of])
        return [[next(encoded) for _ in of] for of in written]

    def opening(self, rounds: Sequence[tuple[str, str]], prompt: str) -> Ids:
        around = self._around(len(rounds) + 1)
        before, after = around[2 * len(rounds) : 2 * len(rounds) + 2]
        given = [*(before[1:] if rounds else before), prompt, *after]
        return self._encode(given)

    def _written(self, rounds: Sequence[tuple[str, str]], system: str) -> Iterator[WrittenRound]:
        around = self._around(len(rounds), bool(system))
        opening, around = around[: bool(system)], around[bool(system) :]
        said = [*opening[0], system.strip() if self._strips_system else system] if system else []
        for index, (prompt, response) in enumerate(rounds):
            before, after, behind = around[2 * index : 2 * index + 3]
            given = _merged([*(before[1:] if index else (*said, *before)), prompt, *after])
            last = str(given.pop()) if given and isinstance(given[-1], str) else ""
            yield WrittenRound(given, (last, response), int(behind[0]))

    def _encode_rounds(self, rounds: Sequence[WrittenRound]) -> Iterator[tuple[Ids, int]]:
        """Many at once, which is several times as fast."""
        texts = list(dict.fromkeys(piece for one in rounds for piece in one.given if isinstance(piece, str)))
        ids_of: dict[Piece, Ids] = dict(zip(texts, self._text_encoder.batch(texts), strict=True))
        tails = self._text_encoder.rounds([one.sides for one in rounds])
        for one, (tail, first) in zip(rounds, tails, strict=True):
            head = [ids_of[piece] if isinstance(piece, str) else _one(piece) for piece in one.given]
            yield np.concatenate([*head, tail, _one(one.end)]), sum(map(len, head)) + first

    def _encode(self, pieces: Sequence[Piece]) -> Ids:
        parts = [_one(piece) if isinstance(piece, int) else self._text_encoder.ids(piece) for piece in _merged(pieces)]
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts]).astype(np.int32)

    @lru_cache(maxsize=256)  # noqa: B019 -- as long-lived as its encoder
    def _around(self, rounds: int, system: bool = False) -> tuple[tuple[Piece, ...], ...]:
        """What the template writes before, between and after the messages of so many rounds, a system text first."""
        marks = [MARK.format(index) for index in range(2 * rounds)]
        texts = MARKED.split(self._text(marks, system=MARK.format(SYSTEM_MARK) if system else ""))[::2]
        return tuple(tuple(self._pieces(text)) for text in texts)

    def _pieces(self, text: str) -> Iterator[Piece]:
        for part in self._cut.split(text):
            if part:
                yield self._special.get(part, part)

    def _text(self, texts: Sequence[str], ask: bool = False, system: str = "") -> str:
        messages = [{"role": "system", "content": system}] if system else []
        messages += [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]
        try:
            return str(self._render(messages=messages, add_generation_prompt=ask))
        except Exception as error:  # a template may raise whatever it likes
            raise RequestError(
                f"the chat template of {self._folder} fails: {error}. Choose another train.template."
            ) from None

    def _check(self) -> None:
        marks = [MARK.format(index) for index in range(4)]
        whole = self._text(marks)
        texts = [" a b ", "\nc\n", "  d", "e  "]
        expected = MARKED.sub(lambda mark: texts[int(mark[1])], whole)
        asked = self._text(marks[:3], ask=True)
        wrong = ""
        if MARKED.findall(whole) != ["0", "1", "2", "3"] or self._text(texts) != expected:
            wrong = "changes the messages, so that what is trained and what is given would differ"
        elif not whole.startswith(asked):
            wrong = "asks for an answer in another way than it writes one"
        elif not all(isinstance(next(iter(self._around(2)[index]), None), int) for index in (2, 4)):
            wrong = "does not end a response with a special token"
        if wrong:
            raise RequestError(
                f"the chat template of {self._folder} {wrong}. Choose another train.template, e.g. vicuna_v1.1."
            )


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
