"""Text to token ids, fast and exactly as the tokenizer alone would.

`Plain` asks the tokenizer. `Words` remembers words: a SentencePiece-like vocabulary in which no piece holds a space
after another character, nor a newline beside another, can never merge over those places, so a text is cut there, each
piece of it is spelt once and its ids are kept. `speller` takes `Words` where the vocabulary allows it.

Many texts are bytes that numpy cuts and looks up in a table (word_table.py), without an object for a word; long words
and single texts go through a dictionary. Its ids are the bytes of int32: joining these costs a tenth of joining lists.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from sft_sweeps.data.encode.word_table import WIDTH, Lanes, Places, WordTable, lanes

Ids = npt.NDArray[np.int32]
Sides = tuple[str, str]  # of a round: what is given, what is learnt

SPACE = "\u2581"
CUT = re.compile(f"\n|{SPACE}+[^{SPACE}\n]*|[^{SPACE}\n]+")
WHOLE = re.compile(f"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+")  # a piece that can stand between two cuts
BLANKS = ("", " ", SPACE)  # where tokenizers differ in what they put in front
LONGEST = 32  # characters of a remembered word
REMEMBERED = 500_000  # words: about 100 MB
AT_ONCE = 128  # words
WORTH_TABLE = 1 << 14  # bytes: fewer are looked up word by word


class TextEncoder(Protocol):
    """How texts are spelt."""

    def ids(self, text: str) -> Ids:
        """The ids of a text, without special tokens."""

    def counts(self, texts: Sequence[str]) -> list[int]:
        """How many ids each text has."""

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        """Each round's ids, and the place of the first that is learnt."""


def text_encoder(tokenizer: Tokenizer) -> TextEncoder:
    """The fastest that is exact for this tokenizer."""
    content = json.loads(tokenizer.to_str())
    return TokenCache(tokenizer, content) if _cuttable(content) else PlainEncoder(tokenizer)


class PlainEncoder:
    """The tokenizer itself; the boundary between the sides is found by the characters that each token covers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def ids(self, text: str) -> Ids:
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(found.ids) for found in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

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


class TokenCache(dict[str, bytes]):
    """A text is cut before every run of spaces and around every newline; each word is spelt once."""

    def __init__(self, tokenizer: Tokenizer, content: dict[str, Any]) -> None:
        super().__init__()
        self._plain = PlainEncoder(tokenizer)
        # The same merges on text that is written with U+2581 already.
        self._merges = Tokenizer.from_str(
            json.dumps(
                {**content, **dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor")), "added_tokens": []}
            )
        )
        self._merges.no_truncation()
        self._merges.no_padding()
        self._table = WordTable()
        newline = self._merges.encode("\n", add_special_tokens=False).ids
        self._newline = newline[0] if len(newline) == 1 else -1

    def ids(self, text: str) -> Ids:
        if text[:1] in BLANKS:
            return self._plain.ids(text)
        return np.frombuffer(self._spelt([_words(SPACE + text)])[0], dtype=np.int32)

    def counts(self, texts: Sequence[str]) -> list[int]:
        found = self._many([f" {text}" for text in texts])
        if found is None:
            return [len(self.ids(text)) for text in texts]
        counts: list[int] = np.diff(found[1]).tolist()
        for place in (place for place, text in enumerate(texts) if text[:1] in BLANKS):
            counts[place] = len(self._plain.ids(texts[place]))
        return counts

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        found = self._many([text for given, learnt in sides for text in (f" {given}", learnt)])
        if found is None:
            return self._few(sides)
        ids, begins = found[0], found[1].tolist()
        return [
            self._plain.rounds([both])[0] if _inseparable(*both) else (ids[begin:end], first - begin)
            for both, begin, first, end in zip(sides, begins[::2], begins[1::2], begins[2::2], strict=False)
        ]

    def _many(self, texts: Sequence[str]) -> tuple[Ids, Places] | None:
        """The ids of all texts, and between which places each one's are; None where there are too few for a table."""
        parts = [text.replace(SPACE, " ").encode() for text in texts]
        buffer = b"".join(parts)
        if len(buffer) < WORTH_TABLE or b"\0" in buffer:
            return None
        edges = np.cumsum([0, *map(len, parts)])
        starts = _starts(buffer, edges[:-1])
        lengths = np.diff(starts, append=len(buffer))
        keys, long = lanes(buffer, starts, lengths), lengths > WIDTH
        entries = self._table.find(keys)
        lacking = np.flatnonzero((entries == 0) & ~long)
        if len(lacking):
            self._remember(_cut(buffer, starts, lengths, lacking), [key[lacking] for key in keys])
            entries = self._table.find(keys)
        entries[long] = 0
        others = np.flatnonzero(entries == 0)
        words = [[word.decode().replace(" ", SPACE)] for word in _cut(buffer, starts, lengths, others)]
        ids, word_ends = self._table.ids(entries, others, self._spelt(words))
        return ids, np.concatenate([[0], word_ends])[np.searchsorted(starts, edges)]

    def _remember(self, words: list[bytes], keys: Lanes) -> None:
        """Spell words that the table lacks, each once; forget the others where there is no room."""
        places = {word: place for place, word in enumerate(words)}
        if len(places) > self._table.room:
            self._table.clear()
        chosen = dict(islice(places.items(), self._table.room))
        texts, at = [word.decode().replace(" ", SPACE) for word in chosen], list(chosen.values())
        new = self._new(texts)
        self._table.add([key[at] for key in keys], [new[text] for text in texts])

    def _few(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        spelt = self._spelt([_words(text) for given, learnt in sides for text in (SPACE + given, learnt)])
        return [self._round(*both, *spelt[2 * n : 2 * n + 2]) for n, both in enumerate(sides)]

    def _round(self, given: str, learnt: str, before: bytes, after: bytes) -> tuple[Ids, int]:
        if _inseparable(given, learnt):
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
        """Spell words, and remember them."""
        new = self._new(words)
        if len(self) + len(new) > REMEMBERED:
            self.clear()
        self.update((word, spelt) for word, spelt in new.items() if len(word) <= LONGEST)
        return new

    def _new(self, words: list[str]) -> dict[str, bytes]:
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


def _inseparable(given: str, learnt: str) -> bool:
    """Whether the sides of a round are spelt by the tokenizer itself."""
    return not given or not learnt or given[0] in BLANKS or not _cut_between(given[-1], learnt[0])


def _starts(buffer: bytes, begins: Places) -> Places:
    """Where words begin: at each newline and behind it, at each first space of a run, where a text does."""
    found = np.frombuffer(buffer, dtype=np.uint8)
    newline, space = found == 10, found == 32
    first = newline | space
    first[1:] &= ~space[:-1] | newline[1:]
    first[1:] |= newline[:-1]
    first[begins[begins < len(buffer)]] = True
    return np.flatnonzero(first)


def _cut(buffer: bytes, starts: Places, lengths: Places, which: Places) -> list[bytes]:
    """Some words of a buffer."""
    begins, ends = starts[which], starts[which] + lengths[which]
    return [buffer[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


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
