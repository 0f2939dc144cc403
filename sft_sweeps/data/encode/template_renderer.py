"""A chat template as a function, rendered as transformers does."""

import json
import re
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sft_sweeps.errors import RequestError

# What a template writes between `{% generation %}` and `{% endgeneration %}` stands between these in what is rendered.
OPEN, CLOSE = "\ufdd0", "\ufdd1"  # noncharacters of Unicode: in no text
MARKS = re.compile(f"[{OPEN}{CLOSE}]")
SECONDS = 10  # for one conversation
MOST_CHARACTERS = 1 << 20  # beside what a conversation says, counted four times
TAG = re.compile(r"\W\w|\w\W")  # what a constant has that is compared with a text and is no plain word
Message = Mapping[str, Any]


class TooLongError(ValueError):
    """A template writes very much more than it is given."""


class Renderer:
    """A chat template with the special tokens that it may name."""

    def __init__(self, text: str, settings: dict[str, Any]) -> None:
        self._text, self._environment = text, _environment()
        tokens = {key: value for key, value in settings.items() if key.endswith("_token") and value}
        named_tokens = {key: value["content"] if isinstance(value, dict) else value for key, value in tokens.items()}
        try:
            self._template = self._environment.from_string(text, globals=named_tokens)
        except Exception as error:  # jinja's own kinds are many
            raise RequestError(f"the chat template cannot be read: {error}. Choose another train.template.") from None

    def __call__(
        self, messages: Sequence[Message], *, ask: bool = False, tools: Sequence[Message] | None = None
    ) -> str:
        """What the template writes; ValueError where it raises whatever, takes too long or writes too much."""
        try:
            with _limited():
                written = self._template.render(
                    messages=messages, tools=tools, documents=None, add_generation_prompt=ask
                )
        except MemoryError:
            raise
        except Exception as error:  # a template may raise whatever it likes
            raise ValueError(str(error) or type(error).__name__) from None
        if len(written) > MOST_CHARACTERS + 4 * len(f"{messages}{tools}"):
            raise TooLongError(f"it writes {len(written):,} characters")
        return str(written)

    @property
    def marks_answers(self) -> bool:
        """Whether the template says itself what is supervised."""
        return "generation" in self._tags

    @cached_property
    def _tags(self) -> set[str]:
        tokens = self._environment.lex(self._text)
        before, found = "", set()
        for _, kind, value in tokens:
            if kind == "name" and before == "block_begin":
                found.add(value)
            before = before if kind == "whitespace" else kind
        return found

    @cached_property
    def compared(self) -> tuple[str, ...]:
        """The texts other than words that the template has as constants, e.g. `</think>`: messages may hold them."""
        from jinja2 import nodes

        constants = self._environment.parse(self._text).find_all(nodes.Const)
        texts = {one.value.strip() for one in constants if isinstance(one.value, str)}
        return tuple(sorted((text for text in texts if TAG.search(text)), key=len, reverse=True))


def without_marks(rendered: str) -> str:
    """What is rendered, without the marks."""
    return MARKS.sub("", rendered)


def _environment() -> Any:
    """A sandbox, blocks trimmed; what would differ from day to day or at random raises."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):  # type: ignore[misc]
        """Puts marks around what is written between `{% generation %}` and `{% endgeneration %}`."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

        def _marked(self, caller: Any) -> str:
            return OPEN + str(caller()) + CLOSE

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.filters["random"] = environment.globals["lipsum"] = _raise_random
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _raise_dated
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, **given: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **given)


def _raise(message: str) -> None:
    raise ValueError(message)


def _raise_dated(*_: Any) -> None:
    raise ValueError("it writes the date of the day, so that what is trained would differ from day to day")


def _raise_random(*_: Any, **__: Any) -> None:
    raise ValueError("it writes something at random, so that what is trained would differ from time to time")


@contextmanager
def _limited() -> Iterator[None]:
    """TimeoutError after SECONDS; in a thread beside the main one, where no signal arrives, there is no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise TimeoutError(f"it does not end within {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
