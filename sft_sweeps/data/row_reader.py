"""A row of a source's file becomes one example, or parts of it, or is dropped for one reason.

Every dropped row is counted under its reason with one row of each shown (data/row_filter.py). A row's index in the file
is its example's id, so dropping a row renames no other. What a row says depends on its format (data/formats.py).

An empty text has no character at all; white space is text, as it is for FastChat.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sft_sweeps.data import clean, columns, fields, key_uses, preferences, row_keys, tags, tools
from sft_sweeps.data.example import DropError, Dropped, Example
from sft_sweeps.data.formats import CHOSEN, FORMATS, Conversation, Format, Pair, system_of, with_context
from sft_sweeps.data.row_filter import RowCount
from sft_sweeps.data.turn_flags import NOTHING_LEARNT
from sft_sweeps.files.rows import FileRow
from sft_sweeps.spec.data import NO_TURN_RULES, Cleaning, TurnRules

# NUL is no text, and a lone half of a surrogate pair has no UTF-8 form: neither can be encoded or written.
BAD_CHARACTERS = re.compile("[\0\ud800-\udfff]")
SHOWN = 160  # characters of a dropped row in a message

Split = Callable[[Example], Iterable[Example]]
Refusal = Callable[[Example], str]  # why an example cannot be written as a template has it, or ""


def never(_: Example) -> str:
    """The refusal of a template that writes every text as it is."""
    return ""


def unsplit(example: Example) -> Iterable[Example]:
    """The example itself, whatever its length."""
    return (example,)


@dataclass(frozen=True, slots=True)
class RowResult:
    """What one row became: its examples, or why there are none; `keys` tell duplicates, `ignored` are keys of it."""

    examples: tuple[Example, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    keys: clean.Keys | None = None
    left_out: tuple[tuple[str, int], ...] = ()
    ignored: tuple[str, ...] = ()
    uses: key_uses.Uses = ()

    @property
    def count(self) -> RowCount:
        turns = sum(example.turns for example in self.examples)
        given = sum(map(len, (example.unlearnt for example in self.examples)))
        return RowCount(
            len(self.examples), self.dropped, self.keys, turns, self.left_out, self.ignored, self.uses, given
        )


@dataclass(frozen=True)
class Reader:
    """How the rows of a source are read, each by itself.

    `format` "" is that of none; with `auto`, a row that lacks its fields and has another one's is read by that.
    """

    name: str
    format: str
    cleaning: Cleaning | None = None
    bug_compatible: bool = False
    turns: TurnRules = NO_TURN_RULES
    auto: bool = False
    columns: tuple[tuple[str, str], ...] = ()
    group_by: str = ""

    @cached_property
    def _roles(self) -> Mapping[str, str]:
        return dict(self.turns.roles)

    def _format_of(self, row: Mapping[str, Any]) -> Format | None:
        name = (fields.own_format(row, self.format) if self.auto else "") or self.format
        if name == CHOSEN:
            return preferences.FORMAT
        return FORMATS.get(name) if name else None

    def _read_keys(self, row: Mapping[str, Any]) -> frozenset[str]:
        known = self._format_of(row)
        return known.fields | known.also if known else frozenset()

    def for_template(self, takes_system: bool, takes_tools: bool) -> "Reader":
        """The same for a template: one without a place for a system text, or for tools, refuses rows that have such."""
        rules = self.turns
        if rules.system == "render" and not takes_system:
            rules = replace(rules, system="refuse")
        if rules.tools == "render" and not takes_tools:
            rules = replace(rules, tools="refuse")
        return self if rules is self.turns else replace(self, turns=rules)

    @cached_property
    def _reads_tools(self) -> bool:
        return self.turns.tools == "render" and self.format != CHOSEN

    @cached_property
    def _drop_reason(self) -> Callable[[Example], str] | None:
        return tags.drop_reason(self.cleaning) if self.cleaning and self.cleaning.drop_tags else None

    def result(self, row: FileRow, index: int, split: Split, refusal: Refusal = never) -> RowResult:
        """What a row becomes."""
        cleaned = self.cleaned(row, index)
        if isinstance(cleaned, Dropped):
            return self.without_example(cleaned, row)
        return self.parts(cleaned, row, split, refusal)

    def cleaned(self, row: FileRow, index: int) -> Example | Dropped:
        """A row's example before it is split, or why there is none."""
        try:
            content = self._content(row)
            offered = tools.of_row(row.value) if self._reads_tools else ""
            example = self._example(content, f"{self.name}/{index}", row.group, offered)
            if self._drop_reason and (reason := self._drop_reason(example)):
                raise DropError(reason)
        except DropError as error:
            detail = f"{error.detail} in " if error.detail else ""
            return Dropped(error.reason, f"{row.location}: {detail}{_shown(row)}", self._turns_of(row))
        return example

    def without_example(self, dropped: Dropped, row: FileRow) -> RowResult:
        """What becomes of a row that is dropped whole."""
        return RowResult(dropped=(dropped,), uses=self._uses(row))

    def _uses(self, row: FileRow) -> key_uses.Uses:
        if not isinstance(row.value, dict):
            return ()
        known = self._format_of(row.value)
        rules: key_uses.Rules = "fastchat" if self.bug_compatible else "tools" if self._reads_tools else ""
        twice = ((row.twice, key_uses.TWICE),) if row.twice else ()
        return (*key_uses.of_row(row.value, known, self.columns, self.group_by, rules), *twice)

    def ignored(self, row: FileRow) -> tuple[str, ...]:
        """The keys of a row that nothing is known of."""
        if not isinstance(row.value, dict):
            return ()
        found = row_keys.ignored(row.value, self._read_keys(row.value))
        return tuple(sorted(found - {f"[].{key}" for key in tools.OF_ANSWERS} if self._reads_tools else found))

    def parts(self, example: Example, row: FileRow, split: Split, refusal: Refusal = never) -> RowResult:
        """What the cleaned example of a row becomes when it is split; `refusal` is the template's."""
        keys = None
        if self.cleaning and self.cleaning.drop_duplicates:
            # Rows with a history may differ in what follows it.
            history = "history" in self._read_keys(row.value) and row.value.get("history")
            keys = clean.keys(example, len(example.rounds) if history else 1)
        parts, dropped, all_rounds = list(split(example)), list[Dropped](), len(example.rounds)
        if (rounds := sum(len(part.rounds) for part in parts)) < all_rounds:
            reason = "lost_in_splitting" if parts else "lost_whole_in_splitting"
            lost = example.turns - sum(part.turns for part in parts)
            dropped.append(Dropped(reason, f"{row.location}: {all_rounds - rounds} of {all_rounds} rounds", lost))
        for why in (self._wrong_list, _idle, refusal):
            judged = [(part, why(part)) for part in parts]
            refused = [(part, reason) for part, reason in judged if reason]
            dropped += [Dropped(reason, f"{row.location}: {_shown(row)}", part.turns) for part, reason in refused]
            parts = [part for part, reason in judged if not reason]
        return RowResult(tuple(parts), tuple(dropped), keys, example.left_out, self.ignored(row), self._uses(row))

    def _wrong_list(self, part: Example) -> str:
        rule = self.cleaning and self.cleaning.drop_wrong_lists
        return "wrong_list" if rule and clean.has_wrong_list(part) else ""

    def _content(self, row: FileRow) -> Pair | Conversation:
        """What a row says, before anything is judged but its keys."""
        if row.broken is not None:
            raise DropError("broken_json")
        if not isinstance(row.value, dict):
            raise DropError("not_an_object")
        read = {"preferences": self.format == CHOSEN, "tools": self._reads_tools}
        if not self.bug_compatible and (reason := row_keys.reason(row.value, self._roles, **read)):
            raise DropError(reason)
        known = self._format_of(row.value)
        if known is None:
            raise DropError("unknown_fields")
        try:
            return known.read(tools.with_texts(row.value) if self._reads_tools else row.value)
        except KeyError as error:
            if self.columns:
                column = columns.column_of(str(error.args[0]), self.columns)
                raise DropError("missing_column", f"no {column}") from None
            raise DropError("unknown_fields") from None

    def _turns_of(self, row: FileRow) -> int:
        """The turns of a row, as far as they can be told of one that is refused."""
        known = self._format_of(row.value) if isinstance(row.value, dict) else None
        if known is None:
            return 0
        try:
            return _count_turns(known.read(row.value), self.bug_compatible)
        except KeyError:
            return 0
        except DropError:
            own = not self.bug_compatible and isinstance(text := system_of(row.value), str) and bool(text.strip())
            lists = [row.value[key] for key in known.fields & {*row_keys.LISTS} if isinstance(row.value.get(key), list)]
            return own + (sum(map(len, lists)) if lists else 2)

    def _example(self, content: Pair | Conversation, example_id: str, group: str, offered: str) -> Example:
        example = self._conversation(content) if isinstance(content, Conversation) else self._pairs(content)
        example = replace(example, id=example_id, group=group or example_id, tools=offered)
        texts = (example.group, example.row_id, example.system, *example.messages, *tools.texts(example))
        if any(map(BAD_CHARACTERS.search, texts)):
            raise DropError("bad_characters")
        return example

    def _pairs(self, pair: Pair) -> Example:
        if self.bug_compatible:
            return Example("", (self._pair(pair),))
        pair = replace(pair, prompt=with_context(pair.prompt, pair.context))
        rounds = (*self._earlier(pair), self._pair(pair))
        system = _system(pair.system)
        if not system or self.turns.system == "render":
            return Example("", rounds, system=system, system_turns=bool(system))
        if self.turns.system == "refuse":
            raise DropError("system_turn")
        return Example("", rounds, left_out=(("system_turn", 1),))

    def _earlier(self, pair: Pair) -> list[tuple[str, str]]:
        rounds = pair.earlier
        if not isinstance(rounds, list | tuple) or not all(
            isinstance(both, list) and len(both) == 2 for both in rounds
        ):
            raise DropError("history")
        return [self._pair(Pair(*both)) for both in rounds]

    def _pair(self, pair: Pair) -> tuple[str, str]:
        prompt, response = pair.prompt, pair.response
        if not isinstance(prompt, str) or not isinstance(response, str):
            raise DropError("not_text")
        if not prompt and not self.bug_compatible:
            raise DropError("empty_prompt")
        if not response and not self.bug_compatible:
            raise DropError("empty_response")
        return prompt, response

    def _conversation(self, content: Conversation) -> Example:
        turns, unlearnt = content.turns, content.unlearnt
        said = tools.said(content.listed, self._roles) if self._reads_tools else {}
        if not self.bug_compatible and (system := _system(content.system)):
            turns, unlearnt = [("system", system), *turns], frozenset(place + 1 for place in unlearnt)
            said = {place + 1: message for place, message in said.items()}
        rules = self.cleaning, self.bug_compatible, content.plugins, self.turns
        return replace(clean.conversation(turns, *rules, unlearnt=unlearnt, said=said), row_id=content.id)


def _idle(part: Example) -> str:
    """Why there is nothing to learn of a part; "" where there is."""
    return NOTHING_LEARNT if part.unlearnt and len(part.unlearnt) == len(part.rounds) else ""


def _system(value: Any) -> str:
    if not isinstance(value, str):
        raise DropError("not_text")
    return value if value.strip() else ""


def _count_turns(content: Pair | Conversation, bug_compatible: bool) -> int:
    """The turns that a row has, its own system text one of them; FastChat reads nothing beside a pair or the turns."""
    own = not bug_compatible and isinstance(content.system, str) and bool(content.system.strip())
    if isinstance(content, Conversation):
        return len(content.turns) + own
    earlier = len(content.earlier) if isinstance(content.earlier, list | tuple) and not bug_compatible else 0
    return 2 + own + 2 * earlier


def _shown(row: FileRow) -> str:
    """A row in a message."""
    text = json.dumps(row.value, default=str) if row.broken is None else row.broken
    return text if len(text) <= SHOWN else text[:SHOWN] + " ..."
