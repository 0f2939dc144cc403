"""Text to token ids, fast and exactly as the tokenizer alone would.

`Plain` asks the tokenizer. `Words` remembers words: a SentencePiece-like vocabulary in which no piece holds a space
after another character, nor a newline beside another, can never merge over those places, so a text is cut there, each
piece of it is spelt once and its ids are kept. `speller` takes `Words` where the vocabulary allows it.

Ids are the bytes of int32: joining remembered bytes costs a tenth of joining lists.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

Ids = npt.NDArray[np.int32]
Sides = tuple[str, str]  # of a round: what is given, what is learnt

SPACE = "\u2581"
CUT = re.compile(f"\n|{SPACE}+[^{SPACE}\n]*|[^{SPACE}\n]+")
WHOLE = re.compile(f"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+")  # a piece that can stand between two cuts
BLANKS = ("", " ", SPACE)  # where tokenizers differ in what they put in front
LONGEST = 32  # characters of a remembered word
REMEMBERED = 500_000  # words: about 100 MB
AT_ONCE = 512  # words


class Speller(Protocol):
    """How texts are spelt."""

    def ids(self, text: str) -> Ids:
        """The ids of a text, without special tokens."""

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        """Each round's ids, and the place of the first that is learnt."""


def speller(tokenizer: Tokenizer) -> Speller:
    """The fastest that is exact for this tokenizer."""
    content = json.loads(tokenizer.to_str())
    return Words(tokenizer, content) if _cuttable(content) else Plain(tokenizer)


class Plain:
    """The tokenizer itself; the boundary between the sides is found by the characters that each token covers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def ids(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        encodings = self._tokenizer.encode_batch([given + learnt for given, learnt in sides], add_special_tokens=False)
        return [self._round(given, learnt, found) for (given, learnt), found in zip(sides, encodings, strict=True)]

    def _round(self, given: str, learnt: str, encoding: Any) -> tuple[Ids, int]:
        """Where a token would join the two sides, they are spelt apart."""
        offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        first = int(np.searchsorted(offsets[:, 1], len(given), side="right"))
        if first < len(offsets) and offsets[first, 0] < len(given):
            before = self.ids(given)
            return np.concatenate([before, self.ids(learnt)]), len(before)
        return np.array(encoding.ids, dtype=np.int32), first


class Words(dict[str, bytes]):
    """A text is cut before every run of spaces and around every newline; each word is spelt once."""

    def __init__(self, tokenizer: Tokenizer, content: dict[str, Any]) -> None:
        super().__init__()
        self._plain = Plain(tokenizer)
        # The same merges on text that is written with U+2581 already.
        self._merges = Tokenizer.from_str(
            json.dumps(
                {**content, **dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor")), "added_tokens": []}
            )
        )
        self._merges.no_truncation()
        self._merges.no_padding()
        newline = self._merges.encode("\n", add_special_tokens=False).ids
        self._newline = newline[0] if len(newline) == 1 else -1

    def ids(self, text: str) -> Ids:
        if text[:1] in BLANKS:
            return self._plain.ids(text)
        return np.frombuffer(self._spelt([_words(SPACE + text)])[0], dtype=np.int32)

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        spelt = self._spelt([_words(text) for given, learnt in sides for text in (SPACE + given, learnt)])
        return [self._round(*both, *spelt[2 * n : 2 * n + 2]) for n, both in enumerate(sides)]

    def _round(self, given: str, learnt: str, before: bytes, after: bytes) -> tuple[Ids, int]:
        if not given or not learnt or given[0] in BLANKS or not _cut_between(given[-1], learnt[0]):
            return self._plain.rounds([(given, learnt)])[0]
        return np.frombuffer(before + after, dtype=np.int32), len(before) // 4

    def _spelt(self, texts: Sequence[list[str]]) -> list[bytes]:
        """Texts that are cut into words; every word is looked up once, and the new ones are spelt together."""
        found: list[list[Any]] = [list(map(self.get, words)) for words in texts]
        lacking = [(at, place) for at, parts in enumerate(found) for place in _places_of_none(parts)]
        new = self._learn(list(dict.fromkeys(texts[at][place] for at, place in lacking)))
        for at, place in lacking:
            found[at][place] = new[texts[at][place]]
        return list(map(b"".join, found))

    def _learn(self, words: list[str]) -> dict[str, bytes]:
        """Spell many words in one call: nothing merges over a newline, so they are lines of one text."""
        new: dict[str, bytes] = {}
        for start in range(0, len(words), AT_ONCE):
            some = [word for word in words[start : start + AT_ONCE] if word != "\n"]
            ids = self._merged("\n".join(some))
            ends = [*np.flatnonzero(ids == self._newline).tolist(), len(ids)]
            if len(ends) == len(some):
                spelt, begin = ids.tobytes(), 0
                for word, end in zip(some, ends, strict=True):
                    new[word] = spelt[4 * begin : 4 * end]
                    begin = end + 1
        for word in words:
            if word not in new:
                new[word] = self._merged(word).tobytes()
        if len(self) + len(new) > REMEMBERED:
            self.clear()
        self.update((word, spelt) for word, spelt in new.items() if len(word) <= LONGEST)
        return new

    def _merged(self, text: str) -> Ids:
        return np.array(self._merges.encode_batch_fast([text], add_special_tokens=False)[0].ids, dtype=np.int32)


def _places_of_none(parts: list[Any]) -> Iterator[int]:
    place = -1
    with contextlib.suppress(ValueError):
        while True:
            place = parts.index(None, place + 1)
            yield place


def _words(text: str) -> list[str]:
    return CUT.findall(text.replace(" ", SPACE))


def _cut_between(left: str, right: str) -> bool:
    """Whether a text may be cut between two characters."""
    return "\n" in (left, right) or (right in (" ", SPACE) and left not in (" ", SPACE))


def _cuttable(content: dict[str, Any]) -> bool:
    """BPE over the whole text, spaces as U+2581 with one in front, and no piece over a cut."""
    model = content["model"]
    plain = not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    return (
        model.get("type") == "BPE"
        and plain
        and _spaced(content)
        and all(WHOLE.fullmatch(piece) for piece in model["vocab"])
    )


def _spaced(content: dict[str, Any]) -> bool:
    """Nothing is done to a text that begins with no space but the writing of spaces, in one of the ways there are."""
    found = content.get("normalizer")
    steps = found.get("normalizers", [found]) if found else []
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = {"type": "Prepend", "prepend": SPACE}
    double = {"type": "Replace", "pattern": {"Regex": f"\\A{SPACE}"}, "content": SPACE * 2}
    before = content.get("pre_tokenizer")
    if before is None:
        return steps in ([prepend, replace], [replace, prepend])
    first = before["pretokenizers"][0] if len(before.get("pretokenizers", ())) == 1 else before
    scheme, cut = first.get("prepend_scheme"), first.get("split")
    known = first.get("type") == "Metaspace" and first.get("replacement") == SPACE and scheme in ("always", "first")
    return known and cut is False and steps in ([], [replace], [replace, double])
