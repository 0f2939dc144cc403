"""The rules for conversations: what FastChat's pipeline does to ShareGPT, each rule a switch.

Restated from lm-sys/FastChat 0.2.30, fastchat/data: clean_sharegpt, optional_clean, split_long_conversation,
filter_wrong_format, in that order. FastChat (`bug_compatible`) drops one leading turn at most, refuses a conversation
whose roles do not alternate, and loses the last rounds of a conversation that it splits; what is sound is said in
data/turns.py.
"""

import hashlib
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from sft_sweeps.data import tools
from sft_sweeps.data.example import DropError, Example
from sft_sweeps.data.formats import Turn
from sft_sweeps.data.turn_flags import NOTHING_LEARNT
from sft_sweeps.data.turns import NOTHING, Sound, Walk
from sft_sweeps.errors import RequestError
from sft_sweeps.spec.data import NO_TURN_RULES, Cleaning, TurnRules

FASTCHAT_ROLES = ("human", "gpt")
SEPARATORS = 6  # tokens that FastChat reckons for a message's surroundings
EXTRA = "needs: pip install 'sft-sweeps[cleaning]'"

DIV, SPAN = re.compile("<div.*?>"), re.compile("<span.*?>")
CODE_WITH_LANGUAGE = re.compile(r"```\s*(.*?)(?:Copy code)+(.+?)\s*?```", re.DOTALL)
PAGES = re.compile(r"\d+ / \d+")
COPIED = re.compile(r"Copy\d+ chars / \d+ words")
EMPTY_CODE = re.compile(r"```(.*?)Copy code\s*```")
WRONG_LIST = re.compile("\n1\\. [^2]*\n1\\. ")
REPEATED_DIGIT = re.compile(r"(\d)\1{8}")


def conversation(
    turns: Sequence[Turn],
    cleaning: Cleaning | None,
    bug_compatible: bool,
    plugins: bool = False,
    rules: TurnRules = NO_TURN_RULES,
    *,
    unlearnt: Collection[int] = (),
    said: Mapping[int, tools.Message] = NOTHING,
) -> Example:
    """The rounds that turns become, as an example without an id; DropError says why there is none.

    `unlearnt` are the places of turns that are not learnt, `said` has those that call tools or are what these answer.
    """
    if bug_compatible:
        texts = _fastchat_cleaned(turns, cleaning) if cleaning else _fastchat_raw(turns)
        left_out = {"cleaned_away": len(turns) - len(texts)} if len(turns) > len(texts) else {}
        found = Sound(texts, [1] * len(texts), left_out=Counter(left_out))
    else:
        found = _sound(turns, cleaning or Cleaning(), rules, unlearnt, said)
    if cleaning and plugins and cleaning.drop_plugins:
        raise DropError("plugin")
    if cleaning:
        _filter(found.texts, cleaning)
    texts, joined = found.texts, found.joined
    return Example(
        "",
        tuple(zip(texts[::2], texts[1::2], strict=False)),
        dangling=texts[-1] if len(texts) % 2 else None,
        system=found.system,
        system_turns=found.system_turns,
        joined=tuple(zip(joined[::2], joined[1::2], strict=False)) if max(joined, default=1) > 1 else (),
        left_out=tuple(found.left_out.items()),
        unlearnt=tuple(found.unlearnt),
        calls=_calls(found.messages),
    )


def _calls(messages: Sequence[Sequence[tools.Message]]) -> tuple[tuple[str, str], ...]:
    """What an example says of its calls of tools."""
    if not any(messages):
        return ()
    texts = [json.dumps(some, ensure_ascii=False) if some else "" for some in messages]
    return tuple(zip(texts[::2], texts[1::2], strict=True))


def _sound(
    turns: Sequence[Turn],
    cleaning: Cleaning,
    rules: TurnRules,
    unlearnt: Collection[int],
    said: Mapping[int, tools.Message],
) -> Sound:
    def cleaned(text: str) -> str:
        _refuse_words(text, cleaning)
        text = _markdown(text, cleaning)
        return text if not cleaning.html_to_markdown or text[:1].isprintable() else ""

    found = Walk(rules, cleaning.role_break, cleaned).through(turns, unlearnt, said)
    if not found.texts:
        raise DropError("no_round")
    if len(found.unlearnt) == len(found.texts) // 2:
        raise DropError(NOTHING_LEARNT)
    if sum(map(len, found.texts)) < cleaning.min_characters:
        raise DropError("too_short")
    return found


def _fastchat_raw(turns: Sequence[Turn]) -> list[str]:
    """As the trainer takes a row; where it would end in an exception, the row is dropped."""
    if not turns:
        raise DropError("no_turn")
    for role, _ in turns:
        if role not in FASTCHAT_ROLES:
            raise DropError("unknown_role")
    left = turns if turns[0][0] == FASTCHAT_ROLES[0] else turns[1:]
    if any(role != FASTCHAT_ROLES[index % 2] for index, (role, _) in enumerate(left)):
        raise DropError("role_break")
    return [text for _, text in left]


def _fastchat_cleaned(turns: Sequence[Turn], cleaning: Cleaning) -> list[str]:
    left = list(turns)
    if len(left) > 1 and left[0][0] != FASTCHAT_ROLES[0]:
        left = left[1:]
    if len(left) > 1 and left[-1][0] == FASTCHAT_ROLES[0]:
        left = left[:-1]
    if len(left) <= 1:
        raise DropError("too_short")
    texts: list[str] = []
    for index, (role, text) in enumerate(left):
        if role != FASTCHAT_ROLES[index % 2]:
            raise DropError("role_break")
        _refuse_words(text, cleaning)
        text = _markdown(text, cleaning)
        if not text or not text[0].isprintable():
            break
        texts.append(text)
    characters = sum(map(len, texts))  # FastChat counts the last prompt too, which it then drops
    texts = texts[: len(texts) // 2 * 2]
    if not texts or characters < cleaning.min_characters:
        raise DropError("too_short")
    return texts


def _refuse_words(text: str, cleaning: Cleaning) -> None:
    lower = text.lower() if cleaning.drop_words else ""
    if any(word.lower() in lower for word in cleaning.drop_words):
        raise DropError("blocked_word")


def _markdown(text: str, cleaning: Cleaning) -> str:
    if not cleaning.html_to_markdown:
        return text
    text = SPAN.sub("", DIV.sub("", text))  # else indentation and underscores in code are lost
    try:
        text = _markdownify()(text).strip()
    except Exception as error:  # its parser raises AssertionError and kinds of its own
        raise DropError("bad_html") from error
    text = CODE_WITH_LANGUAGE.sub("```\\g<1>\n\\g<2>\n```", text)
    if noise := PAGES.match(text):
        text = text[noise.end() :]
    text = EMPTY_CODE.sub("", COPIED.sub("", text))
    return text.replace("\n\n\n", "\n").strip()


@lru_cache
def _markdownify() -> Callable[[str], str]:
    try:
        from markdownify import markdownify
    except ImportError:
        raise RequestError(f"clean.html_to_markdown=true {EXTRA}") from None
    # Its parser takes short texts for file names or addresses, and says so each time.
    warnings.filterwarnings("ignore", module="markdownify")
    return markdownify  # type: ignore[no-any-return]


def _filter(texts: Sequence[str], cleaning: Cleaning) -> None:
    if cleaning.keep_languages or cleaning.drop_languages:
        language = _classifier()("\n".join(texts))
        if cleaning.keep_languages and language not in cleaning.keep_languages:
            raise DropError("language")
        if language in cleaning.drop_languages:
            raise DropError("language")
    if cleaning.drop_repeated_digits and any(REPEATED_DIGIT.search(text) for text in texts):
        raise DropError("repeated_digits")


@lru_cache
def _classifier() -> Callable[[str], str]:
    try:
        import py3langid
    except ImportError:
        raise RequestError(f"clean.keep_languages and clean.drop_languages {EXTRA}") from None

    def classify(text: str) -> str:
        return str(py3langid.classify(text)[0])

    return classify


Keys = tuple[bytes, bytes]


def keys(example: Example, rounds: int = 1) -> Keys:
    """What makes a conversation a duplicate of an earlier one: its id, and its system text, tools and first rounds."""
    first = [text for both in example.rounds[:rounds] or [("", "")] for text in both]
    texts = (example.row_id, "\0".join([*example.beginning, *first]))
    one, other = (hashlib.blake2b(text.encode(), digest_size=12).digest() for text in texts)
    return (one if example.row_id else b""), other


class Unique:
    """Drops rows whose id, or whose first prompt and response, were seen in an earlier one that stayed."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def repeats(self, keys: Keys) -> str:
        """Why a row is dropped, "" where it stays."""
        name, first = keys
        if name and name in self._seen:
            return "duplicate_id"
        if first in self._seen:
            return "duplicate_conversation"
        self._seen |= {name, first}
        return ""


def split(
    example: Example, cleaning: Cleaning | None, bug_compatible: bool, length: Callable[[str], int]
) -> Iterator[Example]:
    """A conversation at whole rounds, as many in each part as `split_tokens` allow; `length` counts a text's tokens."""
    limit = cleaning.split_tokens if cleaning else 0
    if not limit or example.dangling is not None:
        yield example
        return
    costs = [length(prompt) + length(response) + 2 * SEPARATORS for prompt, response in example.rounds]
    for text in example.beginning:  # every part has it
        limit -= min(length(text), limit - 1)
    answers = {index for index, (prompt, _) in enumerate(example.calls) if prompt}
    cut = _fastchat_parts(costs, limit) if bug_compatible else _parts(costs, limit, answers)
    for start, stop in cut:
        whole = (start, stop) == (0, len(costs))
        name = example.id if whole and not bug_compatible else f"{example.id}_{2 * start}"
        yield replace(
            example,
            id=name,
            rounds=example.rounds[start:stop],
            system_turns=example.system_turns if start == 0 else 0,
            joined=example.joined[start:stop],
            unlearnt=tuple(index - start for index in example.unlearnt if start <= index < stop),
            calls=example.calls[start:stop],
        )


def _parts(costs: Sequence[int], limit: int, joined: Collection[int]) -> Iterator[tuple[int, int]]:
    """The rounds `joined` stay with the one before: what a tool answers, with its call."""
    start = total = 0
    for index, cost in enumerate(costs):
        if index > start and total + cost > limit and index not in joined:
            yield start, index
            start, total = index, 0
        total += cost
    yield start, len(costs)


def _fastchat_parts(costs: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """What does not fit any more when the conversation ends is lost, and so is a single round that is too long."""
    start = total = 0
    for index, cost in enumerate(costs):
        if total + cost > limit:
            if index > start:  # FastChat makes an empty part here, and drops it afterwards
                yield start, index
            start, total = index, 0
        elif index == len(costs) - 1:
            yield start, index + 1
        total += cost


def has_wrong_list(example: Example) -> bool:
    """A numbered list that begins again with 1 before it has reached 2."""
    return any(WRONG_LIST.search(text) for text in example.messages)
