"""Where the texts of a conversation stand in what a chat template writes of it.

A template may trim texts, leave out what was thought in earlier turns, or write things that depend on what is said. So
each conversation is rendered as it is, and what was written is taken apart into its texts, as the template wrote them,
and what stands between. Where that cannot be told beyond doubt, there is no layout, and the conversation is refused.

First the template is tried on marks in place of texts, as many as there are: most templates write the same between
texts whatever these say. Else each word is marked, so that the tags that a template looks for are left as they are.
"""

import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from sft_sweeps.data.encode.template_renderer import CLOSE, OPEN, Renderer

MARK = "\ue000{}\ue001"  # private use: in no template
MARKED = re.compile("\ue000(\\d+)\ue001")
WORD = "\ufdd2{}\ufdd3"  # noncharacters: in no text either
WORDS = re.compile("[\ufdd2\ufdd3]")
# What templates do to a text before they write it.
TRIMS: tuple[Callable[[str], str], ...] = (
    lambda text: text,
    str.strip,
    lambda text: text.strip("\n"),
    lambda text: text.lstrip("\n"),
    lambda text: text.rstrip("\n"),
    str.lstrip,
    str.rstrip,
)
ROLES = ("user", "assistant")


class Layout(NamedTuple):
    """`literals[i]` stands before `texts[i]`, the last one behind all; a literal has the marks OPEN and CLOSE."""

    literals: tuple[str, ...]
    texts: tuple[str, ...]


class Layouts:
    """The layouts of one template; ValueError where it does not write the texts in their order at all."""

    def __init__(self, render: Renderer) -> None:
        self._render = render
        self._in_parts = False
        if not self._writes_marks():
            self._in_parts = True
            self._in_parts = self._writes_marks()

    def _writes_marks(self) -> bool:
        try:
            return MARKED.findall(self.written([MARK.format(n) for n in range(4)])) == ["0", "1", "2", "3"]
        except ValueError:
            return False

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template writes a conversation's own system text, before everything else that is said."""
        try:
            return len(self.literals(2, True)) == 6
        except ValueError:  # it raises where there is one
            return False

    def written(self, texts: Sequence[str], system: str = "", *, ask: bool = False) -> str:
        """What the template writes of these texts, prompts and responses in turn; ValueError as Renderer."""
        messages: list[dict[str, Any]] = [{"role": "system", "content": self._content(system)}] if system else []
        messages += [{"role": ROLES[n % 2], "content": self._content(text)} for n, text in enumerate(texts)]
        return self._render(messages, ask=ask)

    def _content(self, text: str) -> Any:
        """A text, or for templates of models that also see, a list of one part."""
        return [{"type": "text", "text": text}] if self._in_parts else text

    @lru_cache(maxsize=256)  # noqa: B019 -- as long-lived as its encoder
    def literals(self, rounds: int, system: bool = False) -> tuple[str, ...]:
        """What the template writes around so many rounds of texts that are marks, a system text first."""
        count = 2 * rounds + system
        marks = [MARK.format(index) for index in range(count)]
        written = self.written(marks[system:], marks[0] if system else "")
        if MARKED.findall(written) != [str(index) for index in range(count)]:
            raise ValueError("it does not write the messages in their order")
        return tuple(MARKED.split(written)[::2])

    @lru_cache(maxsize=256)  # noqa: B019
    def asked(self, rounds: int) -> str:
        """What stands behind the last prompt of so many rounds where the template asks for its response."""
        marks = [MARK.format(index) for index in range(2 * rounds - 1)]
        return MARKED.split(self.written(marks, ask=True))[-1]

    @lru_cache(maxsize=1024)  # noqa: B019 -- the conversations that are encoded at once
    def of(self, rounds: tuple[tuple[str, str], ...], system: str = "") -> Layout | None:
        """The layout of a conversation, None where it is in doubt or the template fails."""
        texts = [text for both in rounds for text in both]
        said = [system, *texts] if system else texts
        if any(mark in text for text in said for mark in (OPEN, CLOSE)) or any(map(WORDS.search, said)):
            return None
        try:
            written = self.written(texts, system)
            return self._alike(written, said, self.literals(len(rounds), bool(system))) or self._by_words(written, said)
        except ValueError:
            return None

    def _alike(self, written: str, said: Sequence[str], literals: tuple[str, ...]) -> Layout | None:
        """Where the template writes around these texts what it writes around marks."""
        place, texts = len(literals[0]), []
        if not written.startswith(literals[0]):
            return None
        for text, behind in zip(said, literals[1:], strict=True):
            trimmed = (trim(text) for trim in TRIMS)
            found = next((one for one in trimmed if written.startswith(one + behind, place)), None)
            if found is None:
                return None
            texts.append(found)
            place += len(found) + len(behind)
        return Layout(literals, tuple(texts)) if place == len(written) else None

    def _by_words(self, written: str, said: Sequence[str]) -> Layout | None:
        """Where the template writes other things around these texts than around marks."""
        marked = [self._marked(text, index) for index, text in enumerate(said)]
        if not all(map(WORDS.search, marked)):
            return None
        with_system = len(said) % 2
        shown = self.written(marked[with_system:], marked[0] if with_system else "")
        place, literals, texts = 0, [], []
        for text, own in zip(marked, said, strict=True):
            trimmed = [(shown.find(trim(text), place), trim) for trim in TRIMS]
            at, trim = next((one for one in trimmed if one[0] >= 0), (-1, str))
            if at < 0:
                return None
            literals.append(shown[place:at])
            texts.append(trim(own))
            place = at + len(trim(text))
        literals.append(shown[place:])
        whole = "".join(part for both in zip(literals, texts, strict=False) for part in both) + literals[-1]
        sound = whole == written and not any(map(WORDS.search, literals))
        return Layout(tuple(literals), tuple(texts)) if sound else None

    def _marked(self, text: str, index: int) -> str:
        """The text with a mark in place of each word that is part of no tag."""
        number = iter(range(len(text)))
        return self._words.sub(lambda found: found[1] or WORD.format(f"{index}.{next(number)}"), text)

    @cached_property
    def _words(self) -> re.Pattern[str]:
        tags = "|".join(map(re.escape, self._render.compared)) or "(?!)"
        return re.compile(rf"({tags})|\w+")
