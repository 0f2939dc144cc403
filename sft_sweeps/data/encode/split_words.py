"""Text to token ids for tokenizers that split a text into words first, as GPT-2's and most of today's do.

Such a tokenizer cuts by a regular expression and merges inside words alone. So a text is cut by the same expression
here, and each word is encoded once; its ids, as the bytes of int32, are remembered. Only texts of characters on which
all implementations of expressions agree are cut; the tokenizer itself encodes the others.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from sft_sweeps.data.encode.text_encoder import Ids, PlainEncoder, Sides

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# Letters, digits and signs that have been what they are since Unicode 3. Implementations differ in which control
# characters are white space, in what is newer, and in the letters that fold to "s", "k" or "i".
PLAIN = (
    r"[\t\n\r\x20-\x7e\xa1-\u012f\u0132-\u017e\u0180-\u01bf\u0401-\u044f\u2010-\u2027\u2030-\u203a\u20ac"
    r"\u3001-\u3003\u3041-\u3093\u30a1-\u30f6\u4e00-\u9fa5\uac00-\ud7a3\uff01-\uff5e]*"
)
LONGEST = 64  # characters of a remembered word
REMEMBERED = 500_000  # words: about 100 MB
AT_ONCE = 1024  # words


def splitting(content: dict[str, Any]) -> str:
    """The expression by which a tokenizer splits texts, "" where it is not one that only splits and merges."""
    model, steps = content["model"], _steps(content.get("pre_tokenizer"))
    if content.get("normalizer") or model.get("type") != "BPE" or model.get("dropout") or not steps:
        return ""
    if any(not token["special"] for token in content.get("added_tokens", ())):
        return ""
    *splits, last = steps
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return ""
    if last.get("use_regex", True):
        return GPT2 if not splits else ""
    only = splits[0] if len(splits) == 1 else {}
    known = only.get("type") == "Split" and only.get("behavior") == "Isolated" and not only.get("invert")
    return str(only["pattern"].get("Regex", "")) if known else ""


def _steps(before: dict[str, Any] | None) -> list[dict[str, Any]]:
    if not before:
        return []
    return list(before["pretokenizers"]) if before.get("type") == "Sequence" else [before]


class SplitEncoder(dict[str, bytes]):
    """A text is cut into words; the ids of each are encoded once."""

    def __init__(self, tokenizer: Tokenizer, content: dict[str, Any], expression: str) -> None:
        import regex  # type: ignore[import-untyped]  # 0.05 s that only its users pay

        super().__init__()
        self._plain = PlainEncoder(tokenizer)
        self._split, self._is_plain = regex.compile(expression).findall, regex.compile(PLAIN).fullmatch
        bytes_alone = {**_steps(content["pre_tokenizer"])[-1], "use_regex": False}
        merging = {**content, "pre_tokenizer": bytes_alone, "post_processor": None, "added_tokens": []}
        self._merges = Tokenizer.from_str(json.dumps(merging))

    def ids(self, text: str) -> Ids:
        words = self._words(text)
        return self._plain.ids(text) if words is None else _ids(self._of_words(words))

    def batch(self, texts: Sequence[str]) -> list[Ids]:
        return list(map(self.ids, texts))

    def counts(self, texts: Sequence[str]) -> list[int]:
        cut = [self._words(text) for text in texts]
        counts = [-1 if words is None else len(b"".join(self._of_words(words))) // 4 for words in cut]
        others = [index for index, count in enumerate(counts) if count < 0]
        for index, count in zip(others, self._plain.counts([texts[index] for index in others]), strict=True):
            counts[index] = count
        return counts

    def rounds(self, sides: Sequence[Sides]) -> list[tuple[Ids, int]]:
        found = [self._round(*both) for both in sides]
        others = [index for index, one in enumerate(found) if one is None]
        encoded = iter(self._plain.rounds([sides[index] for index in others]))
        return [next(encoded) if one is None else one for one in found]

    def _round(self, given: str, learnt: str) -> tuple[Ids, int] | None:
        """None where no word ends where the given side does: the tokenizer itself says what becomes of that one."""
        words = self._words(given + learnt)
        if words is None or not given or not learnt:
            return None
        ends = list(accumulate(map(len, words)))
        before = bisect_left(ends, len(given))
        if ends[before] != len(given):
            return None
        ids = self._of_words(words)
        return _ids(ids), len(b"".join(ids[: before + 1])) // 4

    def _words(self, text: str) -> list[str] | None:
        """The words of a text; None where others than the tokenizer may cut it in another way."""
        if not self._is_plain(text):
            return None
        words: list[str] = self._split(text)
        return words if sum(map(len, words)) == len(text) else None

    def _of_words(self, words: list[str]) -> list[bytes]:
        found: list[Any] = list(map(self.get, words))
        if None in found:
            new = self._remember(
                list(dict.fromkeys(word for word, ids in zip(words, found, strict=True) if ids is None))
            )
            found = [new[word] if ids is None else ids for word, ids in zip(words, found, strict=True)]
        return found

    def _remember(self, words: list[str]) -> dict[str, bytes]:
        new: dict[str, bytes] = {}
        for start in range(0, len(words), AT_ONCE):
            some = words[start : start + AT_ONCE]
            encodings = self._merges.encode_batch_fast(some, add_special_tokens=False)
            new |= {
                word: np.array(one.ids, dtype=np.int32).tobytes() for word, one in zip(some, encodings, strict=True)
            }
        if len(self) + len(new) > REMEMBERED:
            self.clear()
        self.update((word, ids) for word, ids in new.items() if len(word) <= LONGEST)
        return new


def _ids(parts: list[bytes]) -> Ids:
    return np.frombuffer(b"".join(parts), dtype=np.int32)
