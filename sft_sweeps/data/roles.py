"""Who speaks a turn: the names that files give to the four roles.

A name is compared without its case and the white space around it. `data.sources.SLOT.roles` says what other names mean.
"""

from collections.abc import Mapping

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
