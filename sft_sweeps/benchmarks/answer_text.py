"""What of a model's answer is meant: no reasoning, no special tokens, the blocks of code, no line behind a body.

Only text is looked at here, in time linear in its length; `programs` makes programs of it.
"""

import re
from collections.abc import Iterator

_THOUGHTS = "think|thinking|thought|thoughts|reasoning|scratchpad|reflection"
_REASONING = re.compile(rf"(?i)[<\[](?P<close>/?)(?:{_THOUGHTS})[>\]]")
_TOKEN = re.compile(
    r"<[|｜][^<>|｜\n]{1,40}[|｜]>|</?s>|<(?i:eos|bos|eot|pad|unk|endoftext|file_sep)>|<(?:start|end)_of_turn>"
    r"|<(?:fim|jupyter)_[a-z]{1,20}>|\[/?INST\]"
)
_ROLE = re.compile(r"(?:assistant|model)[ \t]*\n")
_INLINE = re.compile(r"(```|~~~)([A-Za-z0-9]{0,20})[ \t]++(?=(?:def|from|import|class|async) )")
_OPENS = re.compile(r"(`{3,}|~{3,})[ \t]*+[^`\n]*\Z")
_QUOTED = re.compile(r"(?m)^[ \t]*+> ?(?!>)")
_TRANSCRIBED = re.compile(r"(?m)^>>> ?(?:def|from|import|class|@)\b")


def cleaned(answer: str) -> str:
    """The answer with plain line ends and spaces, without reasoning, up to the token or turn that ends it."""
    text = answer.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\ufeff", "")
    text = without_tokens(without_reasoning(text.replace("\u00a0", " ").replace("\u200b", "")))
    return _INLINE.sub(r"\1\2\n", text.partition("USER:")[0])


def without_reasoning(text: str) -> str:
    """What stands inside `<think>` is a draft; where a prompt opened the block, the answer has only its end."""
    kept: list[str] = []
    end = depth = 0
    for tag in _REASONING.finditer(text):
        if tag["close"]:
            kept = kept if depth else []
            depth = max(depth - 1, 0)
        else:
            kept += [] if depth else [text[end : tag.start()]]
            depth += 1
        end = tag.end()
    return "".join(kept) if depth else "".join(kept) + text[end:]


def without_tokens(text: str) -> str:
    """Special tokens that were written out: one that opens the answer is dropped, another ends it."""
    while token := _TOKEN.search(text):
        if text[: token.start()].strip():
            return text[: token.start()]
        text = text[token.end() :]
        text = text[role.end() :] if (role := _ROLE.match(text)) else text
    return text


def blocks(text: str) -> list[str]:
    """The fenced blocks, of ``` or ~~~, also one that is quoted, that nothing closes, or whose last line closes it."""
    if re.search(r"(?m)^[ \t]*+> ?(?:```|~~~)", text):
        text = _QUOTED.sub("", text)
    found: list[list[str]] = []
    fence = ""
    for line in text.split("\n"):
        if not fence:
            if opening := _OPENS.search(line):
                fence = opening[1][:3]
                found.append([])
        elif line.lstrip().startswith(fence):
            fence = ""
        elif line.rstrip().endswith(fence):
            found[-1].append(line.rstrip().rstrip(fence[0]))
            fence = ""
        else:
            found[-1].append(line)
    return [untranscribed("\n".join(lines)) for lines in found]


def untranscribed(text: str) -> str:
    """The code of an interpreter's transcript (`>>> def ...`); another text as it is."""
    if not _TRANSCRIBED.search(text):
        return text
    return "\n".join(line[4:] for line in text.split("\n") if line[:4].rstrip() in (">>>", "..."))


def after_imports(text: str) -> tuple[str, str]:
    """(imports, body) where a body follows imports that stand at the start of a line; else ("", text)."""
    lines = text.split("\n")
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith(("import ", "from "))), 0)
    if first and continues("\n".join(lines[first:])):
        return "\n".join(lines[:first]) + "\n", "\n".join(lines[first:])
    return "", text


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
        depth = _depth_of_body(lines[first:])
        for index in range(first + 1, len(lines)):
            if lines[index].strip() and _depth(lines[index]) < depth and not _is_inner_comment(lines, index, depth):
                yield "\n".join(lines[:index])
    yield text


def _is_statement(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _depth(line: str) -> int:
    expanded = line.expandtabs(4)
    return len(expanded) - len(expanded.lstrip())


def _depth_of_body(lines: list[str]) -> int:
    """That of the first line; where it alone lost its indentation or won a space, the next one shows it."""
    first, after = _depth(lines[0]), _depth(next(filter(_is_statement, lines[1:]), ""))
    if not first:
        return min(after, 4) or 1
    return after if after and first - after == 1 else first


def _is_inner_comment(lines: list[str], index: int, depth: int) -> bool:
    """Comments may stand anywhere: one left of the body belongs to it if the body goes on behind it."""
    if not lines[index].startswith("#"):
        return False
    after = next((line for line in lines[index + 1 : index + 20] if _is_statement(line)), "")
    return _depth(after) >= depth
