"""The turns of a row become rounds of prompt and response; each turn that does not is counted under its reason.

A sound conversation begins with its first human turn, behind the system turns, and ends before the first turn that is
empty or out of turn. What is done about turns that rounds have no place for is said by `TurnRules` and
`clean.role_break`; a row is refused rather than trained without something it says. Where tools are rendered, a response
may be a call of some, or several at once, and what they answer is the prompt of the next round.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from sft_sweeps.data import tools
from sft_sweeps.data.example import DropError
from sft_sweeps.data.formats import Turn
from sft_sweeps.data.roles import ASSISTANT, HUMAN, SYSTEM, TOOL, kind_of
from sft_sweeps.spec.data import TurnRules

JOINT = "\n"  # between turns of one role that are joined
EARLY = "before_first_prompt"
NOTHING: Mapping[int, tools.Message] = MappingProxyType({})
MOST_NAMED = 4  # names of roles in a message


@dataclass
class Sound:
    """A row's texts, prompts and responses in turn, each of `joined` turns, and the turns that are not in them.

    `unlearnt` are the rounds whose responses are given and not learnt, `messages` of each text those with calls of
    tools, or with what tools answered.
    """

    texts: list[str] = field(default_factory=list)
    joined: list[int] = field(default_factory=list)
    unlearnt: list[int] = field(default_factory=list)
    system: str = ""
    system_turns: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    messages: list[list[tools.Message]] = field(default_factory=list)


class Walk:
    """Goes through the turns of one row; `cleaned` is what becomes of a text."""

    def __init__(self, rules: TurnRules, role_break: str, cleaned: Callable[[str], str]) -> None:
        self._rules, self._role_break, self._cleaned = rules, role_break, cleaned
        self._own: Mapping[str, str] = dict(rules.roles)
        self.found = Sound()

    def through(
        self, turns: Sequence[Turn], unlearnt: Collection[int] = (), said: Mapping[int, tools.Message] = NOTHING
    ) -> Sound:
        """What the turns become, of which those at `unlearnt` are not learnt; DropError where the row is refused.

        `said` are the turns that call tools, and what these answer, by their places.
        """
        kinds = self._kinds([role for role, _ in turns])
        start = kinds.index(HUMAN) if HUMAN in kinds else len(turns)
        early = [tools.text_of(said[place]) if place in said else text for place, (_, text) in enumerate(turns[:start])]
        self._before(early, kinds[:start])
        for index in range(start, len(turns)):
            learnt, message = index not in unlearnt, said.get(index)
            stopped = self._of_tools(message, learnt) if message else self._stops(kinds[index], turns[index][1], learnt)
            if stopped:
                self.found.left_out[stopped] += len(turns) - index
                break
        if len(self.found.texts) % 2:
            self.found.texts.pop()
            self.found.messages.pop()
            self.found.left_out["unanswered_prompt"] += self.found.joined.pop()
        return self.found

    def _kinds(self, roles: Sequence[str]) -> list[str]:
        kinds = [kind_of(role, self._own) for role in roles]
        unknown = [repr(role) for role, kind in zip(roles, kinds, strict=True) if not kind]
        if named := list(dict.fromkeys(unknown))[:MOST_NAMED]:
            raise DropError("unknown_role", f"the role{'s' if len(named) > 1 else ''} {', '.join(named)}")
        return kinds

    def _before(self, early: Sequence[str], kinds: Sequence[str]) -> None:
        """The turns in front of the first prompt."""
        texts = []
        for text, kind in zip(early, kinds, strict=True):
            if kind == SYSTEM and self._rules.system == "render" and text:
                texts.append(text)
            elif kind == SYSTEM and self._rules.system == "refuse" and text:
                raise DropError("system_turn")
            elif kind == TOOL and self._rules.tools == "refuse":
                raise DropError("tool_turn")
            else:
                reason = {SYSTEM: "system_turn", TOOL: "tool_turn"}.get(kind, EARLY)
                reason = EARLY if kind == TOOL and self._rules.tools == "render" else reason
                self.found.left_out[reason if text else "empty_turn"] += 1
        self.found.system, self.found.system_turns = JOINT.join(dict.fromkeys(texts)), len(texts)

    def _stops(self, kind: str, text: str, learnt: bool) -> str:
        """Take the next turn, or leave it out, and return ""; or return why the conversation ends before it."""
        if kind == SYSTEM:
            return self._outside("system_turn", {"drop": "drop"}.get(self._rules.system, ""))
        if kind == TOOL:
            return self._outside("tool_turn", self._rules.tools)
        again = kind != (ASSISTANT if len(self.found.texts) % 2 else HUMAN)
        if again and self._role_break != "join":
            return self._broken()
        text = self._cleaned(text)
        if not text:
            return "empty_turn"
        if again and self.found.messages[-1]:
            return self._unjoined()
        self._take(text, again)
        if kind == ASSISTANT:
            self._mark(learnt, again)
        return ""

    def _take(self, text: str, again: bool) -> None:
        found = self.found
        if again:
            found.texts[-1] += JOINT + text
            found.joined[-1] += 1
        else:
            found.texts.append(text)
            found.messages.append([])
            found.joined.append(1)

    def _of_tools(self, message: tools.Message, learnt: bool) -> str:
        """As `_stops`, of a call of tools or what one answered: of several at once, each is a turn of its own."""
        asked, last = len(self.found.texts) % 2, self.found.messages[-1]
        calls = message.get("tool_calls")
        if calls is None:
            called = self.found.messages[-2 if asked else -1][-1:] if last else []
            if not called:
                raise DropError(tools.NO_CALL)
            tools.check_answer(message, called[0]["tool_calls"], last if asked else ())
        elif not asked and (not last or message["content"]):
            return self._unjoined()
        again = bool(asked) == (calls is None)
        self._take(tools.text_of(message), again)
        messages = self.found.messages[-1]
        if again and calls is not None:
            messages[0]["tool_calls"] += calls
        else:
            messages.append(message)
        if calls is not None:
            self._mark(learnt, again)
        return ""

    def _mark(self, learnt: bool, again: bool) -> None:
        """Note whether the last response is learnt; it is learnt whole or not at all."""
        last, unlearnt = len(self.found.texts) // 2 - 1, self.found.unlearnt
        if again and learnt == (last in unlearnt):
            raise DropError("turn_weight", "answers that are joined and have different weights")
        if not learnt and not again:
            unlearnt.append(last)

    def _outside(self, reason: str, rule: str) -> str:
        """What a turn that no round has a place for does: "" where it is left out, else it ends the conversation."""
        if rule == "drop":
            self.found.left_out[reason] += 1
            return ""
        if rule in ("refuse", "render") or (rule == "" and self._role_break != "cut"):
            raise DropError(reason)
        self._broken()
        return reason

    def _unjoined(self) -> str:
        """As `_broken`, where one of the two turns is of tools, so that there is no one text to make of them."""
        if self._role_break == "join":
            raise DropError("role_break")
        return self._broken()

    def _broken(self) -> str:
        if self._role_break == "drop":
            raise DropError("role_break")
        return "role_break"
