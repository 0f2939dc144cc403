"""Who speaks a turn: the names that files give to the four roles.

A name is compared without its case and the white space around it. `data.sources.SLOT.roles` says what other names mean,
by role, {human: [caller, guest]}, or by name, {caller: human}.
"""

from collections.abc import Iterator, Mapping
from typing import Any

HUMAN, ASSISTANT, SYSTEM, TOOL = "human", "assistant", "system", "tool"
NAMES: Mapping[str, frozenset[str]] = {
    HUMAN: frozenset({"human", "user", "prompter", "questioner", "instructor"}),
    ASSISTANT: frozenset(
        {"gpt", "chatgpt", "bing", "bard", "assistant", "ai", "bot", "chatbot", "model", "llm", "claude", "responder"}
    ),
    SYSTEM: frozenset({"system", "developer"}),
    TOOL: frozenset(
        {
            *("tool", "tools", "function", "observation", "ipython", "function_call", "function_response"),
            *("function-call", "function-response", "tool_call", "tool_response", "tool_result", "tool-response"),
        }
    ),
}
VALID = (*NAMES, "user")  # what data.sources.SLOT.roles may say
KINDS: Mapping[str, str] = {name: kind for kind, names in NAMES.items() for name in names}


def kind_of(role: str, own: Mapping[str, str] | None = None) -> str:
    """One of the four roles, by the user's `own` names first, or "" for a name that is not known."""
    if own and (named := own.get(role)):
        return KINDS[named]
    return KINDS.get(role) or KINDS.get(role.strip().lower(), "")


def named(typed: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(a file's name, its role), in the order of the names, of what was typed in either way."""
    pairs = ((name, role) for role, names in typed.items() for name, role in _pairs(role, names))
    return tuple(sorted(pairs))


def _pairs(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    else:
        yield from ((str(name), key) for name in value)


def problems(key: str, typed: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with what was typed; `key` is that of the roles."""
    said: dict[str, set[str]] = {}
    for word, value in typed.items():
        if not isinstance(value, str | list):
            yield f"{key}.{word}={value} is no list of names; type {key}.{word}=[NAME]"
            continue
        if not value:
            yield f"{key}.{word} names nobody; type {key}.{word}=[NAME], or leave it out"
        for name, role in _pairs(word, value):
            if role not in VALID:
                shown = value if isinstance(value, str) else f"[{', '.join(map(str, value))}]"
                yield f"{key}.{word}={shown}: {role} is no role; choose {', '.join(VALID)}"
            said.setdefault(name, set()).add(role)
    for name, roles in said.items():
        if len(roles) > 1:
            yield f"{key}: {name} is named for {' and '.join(sorted(roles))}; give it one role"
