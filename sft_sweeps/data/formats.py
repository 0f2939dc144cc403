"""The formats of source files: how one is recognised, and what a row of it says.

    question_answer   {question, answer}
    query_response    {query, response}
    alpaca            {instruction, input, output}      prompt: the instruction, "\\nInput:\\n", the input;
                                                        history: [[prompt, response], ...] are rounds before it
    sharegpt          {id, conversations: [{from, value}]}
    messages          {messages: [{role, content}]}     a system message is left out: the template has its own

To add a format: a function here and its entry in `FORMATS`. Another distribution adds one by an entry point of the
group `sft_sweeps.formats` (registry.py) that leads to a `Format`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sft_sweeps.data.example import DropError
from sft_sweeps.registry import Registry

Row = Mapping[str, Any]
Turn = tuple[str, str]  # role, text


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that is one prompt and one response, taken as they are; the reader drops what is no text, or empty.

    FastChat does not read what follows: `earlier` lists the rounds before it, `context` is what the prompt speaks of.
    """

    prompt: Any
    response: Any
    earlier: Any = ()
    context: Any = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row that is the turns of a conversation, to be cleaned.

    `id` is the row's own. `plugins`: whether the assistant used any.
    """

    turns: list[Turn]
    id: str = ""
    plugins: bool = False


@dataclass(frozen=True)
class Format:
    """How rows are read. `auto` takes the first format whose `fields` a row has, and what most rows have.

    `read` is given a row without the keys whose value is null, and raises DropError (the reason, one word) for one that
    it cannot use; a KeyError is a row without a needed field.
    """

    fields: frozenset[str]
    read: Callable[[Row], Pair | Conversation]


def question_answer(row: Row) -> Pair:
    """GSM8K's."""
    return Pair(row["question"], row["answer"])


def query_response(row: Row) -> Pair:
    """That of gsm8k-ScRel."""
    return Pair(row["query"], row["response"])


def alpaca(row: Row) -> Pair:
    """Stanford Alpaca's. FastChat takes an input of one character for none."""
    prompt, response = row["instruction"], row["output"]
    context = row.get("input") or ""
    if not isinstance(prompt, str) or not isinstance(context, str):
        raise DropError("not_text")
    for_fastchat = with_input(prompt, context) if prompt and len(context.strip()) > 1 else prompt
    short = context if prompt and len(context.strip()) == 1 else ""
    return Pair(for_fastchat, response, row.get("history") or (), short)


def with_input(prompt: str, context: str) -> str:
    """A prompt with what it speaks of, as Alpaca's are written."""
    return f"{prompt}\nInput:\n{context}"


def conversation(row: Row) -> Conversation:
    """ShareGPT's, and OpenAI's messages."""
    turns = row["conversations"] if "conversations" in row else row["messages"]  # no key's value is null
    if not isinstance(turns, list):
        raise DropError("not_text")
    return Conversation([_turn(turn) for turn in turns], str(row.get("id") or ""), row.get("plugins") is not None)


def _turn(turn: Any) -> Turn:
    if not isinstance(turn, dict):
        raise DropError("not_text")
    role, text = turn.get("from", turn.get("role")), turn.get("value", turn.get("content"))
    if not isinstance(role, str) or not isinstance(text, str):
        raise DropError("not_text")
    return role, text


# In this order: a row that has the fields of two is of the first.
FORMATS: Registry[Format] = Registry(
    "format",
    "sft_sweeps.formats",
    lambda: {
        "question_answer": Format(frozenset({"question", "answer"}), question_answer),
        "query_response": Format(frozenset({"query", "response"}), query_response),
        "alpaca": Format(frozenset({"instruction", "output"}), alpaca),
        "sharegpt": Format(frozenset({"conversations"}), conversation),
        "messages": Format(frozenset({"messages"}), conversation),
    },
)
AUTO = "auto"  # the format that most of a file's first rows have


def valid_names() -> tuple[str, ...]:
    """What `data.sources.<name>.format` may be."""
    return (AUTO, *FORMATS.names)
