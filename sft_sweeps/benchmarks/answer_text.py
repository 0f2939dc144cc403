"""What of a model's answer is meant as code: no reasoning, no special tokens, nothing that follows a function's body.

Only text is looked at here; `programs` makes programs of it.
"""

import re
from collections.abc import Iterator

_REASONING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL)
_REASONING_ENDS = re.compile(r"</(?:think|thinking|reasoning)>")
_TOKEN = re.compile(r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|<eos>|<bos>|<(?:start|end)_of_turn>")
_ROLE = re.compile(r"(?:assistant|model)[ \t]*\n")


def cleaned(answer: str) -> str:
    """The answer with plain line ends and spaces, without reasoning, up to the token or turn that ends it."""
    text = answer.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\ufeff", "")
    text = _without_tokens(_without_reasoning(text.replace("\u00a0", " ")))
    return text.partition("USER:")[0]


def _without_reasoning(text: str) -> str:
    """Code inside `<think>` is a draft; where a prompt opened the block, the answer has only its end."""
    return _REASONING_ENDS.split(_REASONING.sub("", text))[-1]


def _without_tokens(text: str) -> str:
    """Special tokens that were written out: one that opens the answer is dropped, another ends it."""
    while token := _TOKEN.search(text):
        if text[: token.start()].strip():
            return text[: token.start()]
        text = text[token.end() :]
        text = text[role.end() :] if (role := _ROLE.match(text)) else text
    return text


def continues(text: str) -> bool:
    """Whether the text goes on where a prompt ends: its first line is indented, and no fence."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[:1] in (" ", "\t") and not first.lstrip().startswith("```")


def cuts(text: str) -> Iterator[str]:
    """The text before each line that stands left of its first statement, shortest first; last the whole text.

    The first of these that compiles is the body: a line inside a string or a bracket may stand anywhere.
    """
    lines = text.split("\n")
    first = next((index for index, line in enumerate(lines) if _is_statement(line)), None)
    if first is not None:
        depth = _depth(lines[first]) or _depth_of_others(lines[first + 1 :])
        for index in range(first + 1, len(lines)):
            if lines[index].strip() and _depth(lines[index]) < depth and not _is_inner_comment(lines, index, depth):
                yield "\n".join(lines[:index])
    yield text


def _is_statement(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _depth(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())


def _depth_of_others(lines: list[str]) -> int:
    """Where the first line lost its indentation, the next one shows it, or stands deeper still."""
    after = next(filter(_is_statement, lines), "")
    return min(_depth(after), 4) or 1


def _is_inner_comment(lines: list[str], index: int, depth: int) -> bool:
    """Comments may stand anywhere: one left of the body belongs to it if the body goes on behind it."""
    if not lines[index].startswith("#"):
        return False
    after = next((line for line in lines[index + 1 : index + 20] if _is_statement(line)), "")
    return _depth(after) >= depth
