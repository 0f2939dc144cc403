"""Text to token ids, fast and exactly as the tokenizer alone would: the ids of words are remembered.

A SentencePiece-like vocabulary in which no piece holds a space after another character, nor a newline beside another,
can never merge over those positions. So a text is cut there into words, each word is encoded once and its ids are kept.
`text_encoder` takes the cache where the vocabulary allows it.

Many texts are bytes that numpy cuts and looks up in a table (word_table.py), without an object for a word; long words
and single texts go through a dictionary. Its ids are the bytes of int32: joining these costs a tenth of joining lists.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from sft_sweeps.data.encode.split_words import SplitEncoder, splitting
from sft_sweeps.data.encode.text_encoder import Ids, PlainEncoder, Sides, TextEncoder
from sft_sweeps.data.encode.word_table import WIDTH, Indices, Lanes, WordTable, lanes

SPACE = "\u2581"
CUT = re.compile(f"\n|{SPACE}+[^{SPACE}\n]*|[^{SPACE}\n]+")
WHOLE = re.compile(f"\n|{SPACE}*[^{SPACE}\n]+|{SPACE}+")  # a piece that can stand between two cuts
BLANKS = ("", " ", SPACE)  # where tokenizers differ in what they put in front
LONGEST = 32  # characters of a remembered word
REMEMBERED = 500_000  # words: about 100 MB
AT_ONCE = 128  # words
WORTH_TABLE = 1 << 14  # bytes: fewer are looked up word by word


def text_encoder(tokenizer: Tokenizer) -> TextEncoder:
    """The fastest that is exact for this tokenizer."""
    content = json.loads(tokenizer.to_str())
    if _can_be_cut(content):
        return TokenCache(tokenizer, content)
    if expression := splitting(content):
        try:
            return SplitEncoder(tokenizer, content, expression)
        except Exception as error:  # merges may name added tokens, for which `tokenizers` raises nothing more special
            if type(error) is not Exception:
                raise
    return PlainEncoder(tokenizer)


class TokenCache(dict[str, bytes]):
    """A text is cut before every run of spaces and around every newline; each word is encoded once."""

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
        return np.frombuffer(self._ids_of_words([_words(SPACE + text)])[0], dtype=np.int32)

    def batch(self, texts: Sequence[str]) -> list[Ids]:
        found = self._ids_by_table([f" {text}" for text in texts])
        if found is None:
            return list(map(self.ids, texts))
        ids, edges = found[0], found[1].tolist()
        return [
            self._plain.ids(text) if text[:1] in BLANKS else ids[begin:end]
            for text, begin, end in zip(texts, edges, edges[1:], strict=False)
        ]

    def counts(self, texts: Sequence[str]) -> list[int]:
        batch = self._ids_by_table([f" {text}" for text in texts])
        if batch is None:
            return [len(self.ids(text)) for text in texts]
        counts: list[int] = np.diff(batch[1]).tolist()
        for index in (index for index, text in enumerate(texts) if text[:1] in BLANKS):
            counts[index] = len(self._plain.ids(texts[index]))
        return counts

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        batch = self._ids_by_table([text for given, learnt in sides for text in (f" {given}", learnt)])
        if batch is None:
            return self._rounds_word_by_word(sides)
        ids, edges = batch[0], batch[1].tolist()
        whole = [both for both in sides if _cannot_be_parted(*both)]
        others = iter(self._plain.rounds(whole) if whole else ())
        return [
            next(others) if _cannot_be_parted(*both) else (ids[begin:end], first - begin)
            for both, begin, first, end in zip(sides, edges[::2], edges[1::2], edges[2::2], strict=False)
        ]

    def _ids_by_table(self, texts: Sequence[str]) -> tuple[Ids, Indices] | None:
        """(the ids of all texts, the index where each text's begin and the last's end); None for too few texts."""
        parts = [text.replace(SPACE, " ").encode() for text in texts]
        buffer = b"".join(parts)
        if len(buffer) < WORTH_TABLE or b"\0" in buffer:
            return None
        edges = np.cumsum([0, *map(len, parts)])
        starts = _word_starts(buffer, edges[:-1])
        lengths = np.diff(starts, append=len(buffer))
        keys, long = lanes(buffer, starts, lengths), lengths > WIDTH
        entries = self._table.find(keys)
        lacking = np.flatnonzero((entries == 0) & ~long)
        if len(lacking):
            self._add_to_table(_slices(buffer, starts, lengths, lacking), [key[lacking] for key in keys])
            entries = self._table.find(keys)
        entries[long] = 0
        others = np.flatnonzero(entries == 0)
        words = [[word.decode().replace(" ", SPACE)] for word in _slices(buffer, starts, lengths, others)]
        ids, word_ends = self._table.ids(entries, others, self._ids_of_words(words))
        return ids, np.concatenate([[0], word_ends])[np.searchsorted(starts, edges)]

    def _add_to_table(self, words: list[bytes], keys: Lanes) -> None:
        """Encode words that the table lacks, each once; forget the others where there is no room."""
        indices = {word: index for index, word in enumerate(words)}
        if len(indices) > self._table.room:
            self._table.clear()
        chosen = dict(islice(indices.items(), self._table.room))
        texts, at = [word.decode().replace(" ", SPACE) for word in chosen], list(chosen.values())
        encoded = self._encode_words(texts)
        self._table.add([key[at] for key in keys], [encoded[text] for text in texts])

    def _rounds_word_by_word(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        encoded = self._ids_of_words([_words(text) for given, learnt in sides for text in (SPACE + given, learnt)])
        return [self._round(*both, *encoded[2 * n : 2 * n + 2]) for n, both in enumerate(sides)]

    def _round(self, given: str, learnt: str, before: bytes, after: bytes) -> tuple[Ids, int]:
        if _cannot_be_parted(given, learnt):
            return self._plain.rounds([(given, learnt)])[0]
        return np.frombuffer(before + after, dtype=np.int32), len(before) // 4

    def _ids_of_words(self, texts: Sequence[list[str]]) -> list[bytes]:
        """The ids of texts that are cut into words; each word is looked up, and the new ones are encoded together."""
        parts: list[list[Any]] = [list(map(self.get, words)) for words in texts]
        lacking = [(text, word) for text, ids in enumerate(parts) for word in _indices_of_none(ids)]
        new = self._remember_words(list(dict.fromkeys(texts[text][word] for text, word in lacking)))
        for text, word in lacking:
            parts[text][word] = new[texts[text][word]]
        return list(map(b"".join, parts))

    def _remember_words(self, words: list[str]) -> dict[str, bytes]:
        """Encode words, and remember those that are not too long."""
        new = self._encode_words(words)
        if len(self) + len(new) > REMEMBERED:
            self.clear()
        self.update((word, ids) for word, ids in new.items() if len(word) <= LONGEST)
        return new

    def _encode_words(self, words: list[str]) -> dict[str, bytes]:
        """Encode many words in one call: nothing merges over a newline, so they are lines of one text."""
        encoded: dict[str, bytes] = {}
        for start in range(0, len(words), AT_ONCE):
            some = [word for word in words[start : start + AT_ONCE] if word != "\n"]
            ids = self._merge("\n".join(some))
            ends = [*np.flatnonzero(ids == self._newline).tolist(), len(ids)]
            if len(ends) == len(some):
                buffer, begin = ids.tobytes(), 0
                for word, end in zip(some, ends, strict=True):
                    encoded[word] = buffer[4 * begin : 4 * end]
                    begin = end + 1
        for word in words:
            if word not in encoded:
                encoded[word] = self._merge(word).tobytes()
        return encoded

    def _merge(self, text: str) -> Ids:
        return np.array(self._merges.encode_batch_fast([text], add_special_tokens=False)[0].ids, dtype=np.int32)


def _indices_of_none(parts: list[Any]) -> Iterator[int]:
    index = -1
    with contextlib.suppress(ValueError):
        while True:
            index = parts.index(None, index + 1)
            yield index


def _words(text: str) -> list[str]:
    return CUT.findall(text.replace(" ", SPACE))


def _cannot_be_parted(given: str, learnt: str) -> bool:
    """Whether the tokenizer itself must encode the sides of a round, as one text."""
    return not given or not learnt or given[0] in BLANKS or not _may_cut(given[-1], learnt[0])


def _word_starts(buffer: bytes, text_starts: Indices) -> Indices:
    """Where words begin: at each newline and behind it, at each first space of a run, where a text does."""
    characters = np.frombuffer(buffer, dtype=np.uint8)
    newline, space = characters == 10, characters == 32
    first = newline | space
    first[1:] &= ~space[:-1] | newline[1:]
    first[1:] |= newline[:-1]
    first[text_starts[text_starts < len(buffer)]] = True
    return np.flatnonzero(first)


def _slices(buffer: bytes, starts: Indices, lengths: Indices, chosen: Indices) -> list[bytes]:
    """The chosen words of a buffer."""
    begins, ends = starts[chosen], starts[chosen] + lengths[chosen]
    return [buffer[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _may_cut(left: str, right: str) -> bool:
    """Whether a text may be cut between two characters."""
    return "\n" in (left, right) or (right in (" ", SPACE) and left not in (" ", SPACE))


def _can_be_cut(content: dict[str, Any]) -> bool:
    """BPE over the whole text, spaces as U+2581 with one in front, and no piece over a cut."""
    model = content["model"]
    plain = not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    return (
        model.get("type") == "BPE"
        and plain
        and _only_writes_spaces(content)
        and all(WHOLE.fullmatch(piece) for piece in model["vocab"])
    )


def _only_writes_spaces(content: dict[str, Any]) -> bool:
    """Nothing is done to a text that begins with no space but the writing of spaces, in one of the ways there are."""
    normalizer = content.get("normalizer")
    steps = normalizer.get("normalizers", [normalizer]) if normalizer else []
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
