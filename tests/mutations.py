"""Files that were right, spoilt: a value of theirs, some bytes or words; what a disk, an editor or an enemy makes."""

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

ODD = (
    *(None, True, -3, 0, 0.5, float("nan"), float("inf"), "", "x", "\x1b[2J", "\ud800", [], {}, [1], [[]], {"a": 1}),
    *({"": {}}, 10**30, -(10**30), "9" * 5000, "é\u202e", "../x", "a\0b", "nan", "1/0", "${x}"),
)
KEY = re.compile(rb'"[^"\\]{1,40}": ')
WORD = re.compile(r"\w+|[^\w\s]|\s+")
Change = Callable[[bytes, Random], bytes]


def odd_value(value: Any, chance: Random) -> Any:
    """A JSON value with one anywhere in it replaced or gone; the same object where it holds any."""
    node, at = value, None
    while isinstance(node, dict | list) and node and chance.random() < 0.8:
        at = (node, chance.choice(list(node) if isinstance(node, dict) else range(len(node))))
        node = node[at[1]]
    if at is None:
        return chance.choice(ODD)
    if chance.random() < 0.25:
        del at[0][at[1]]
    elif isinstance(at[0], list) and chance.random() < 0.2:
        at[0].append(at[0][at[1]])
    else:
        at[0][at[1]] = chance.choice(ODD)
    return value


def _odd_json(content: bytes, chance: Random) -> bytes:
    return json.dumps(odd_value(json.loads(content), chance)).encode()


def _flip(content: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


def _put(content: bytes, chance: Random) -> bytes:
    """Bytes that are no UTF-8, no JSON, or more of it than there should be."""
    at = chance.randrange(len(content) + 1)
    odd = (b"\xff", b"\xed\xa0\x80", b"\0", b'"', b"}", b"]", b",", b"\n", b"1e999", b"NaN", b"[" * 5000, b"9" * 5000)
    return content[:at] + chance.choice(odd) + content[at:]


def _key_twice(content: bytes, chance: Random) -> bytes:
    keys = list(KEY.finditer(content))
    if not keys:
        return content
    key = chance.choice(keys)
    return content[: key.start()] + key[0] + b'"again", ' + content[key.start() :]


CHANGES: tuple[Change, ...] = (
    *(_odd_json,) * 5,
    _flip,
    _put,
    _key_twice,
    lambda content, chance: content[: chance.randrange(len(content))],
    lambda _content, _chance: b"",
    lambda _content, _chance: b"[" * 100_000,
    lambda content, _chance: content + content,
    lambda _content, chance: chance.randbytes(300),
)


def spoilt(content: bytes, chance: Random, changes: tuple[Change, ...] = CHANGES) -> bytes:
    """A file's bytes with one change; as they are where that needs JSON and they are none."""
    try:
        return chance.choice(changes)(content, chance)
    except (ValueError, RecursionError, IndexError):
        return content


BYTES: tuple[Change, ...] = (_flip, _put, lambda content, chance: content[: chance.randrange(len(content))])


def reworded(text: str, chance: Random, odd: tuple[str, ...]) -> str:
    """A text (YAML, a template) with a word of it replaced, swapped, doubled or gone, or a line."""
    kind = chance.random()
    if kind < 0.35:
        lines = text.split("\n")
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        lines[at : at + 1] = chance.choice(([], [lines[at]] * 2, [lines[other]], [" " + lines[at]], [lines[at][1:]]))
        return "\n".join(lines)
    words = WORD.findall(text)
    if not words:
        return text
    at, other = chance.randrange(len(words)), chance.randrange(len(words))
    if kind < 0.75:
        words[at] = chance.choice(odd)
    elif kind < 0.9:
        words[at], words[other] = words[other], words[at]
    else:
        words[at : at + 1] = chance.choice(([], [words[at]] * 2, [words[at], words[other]]))
    return "".join(words)
