"""The formats of source files: how one is recognised, and what a row of it says.

    question_answer       {question, answer}
    query_response        {query, response}
    alpaca                {instruction, input, output}      prompt: the instruction, "\\nInput:\\n", the input
    sharegpt              {id, conversations: [{from, value}]}
    messages              {messages: [{role, content}]}     a content is a text, or a list of parts of text
    conversation          {conversation: [{role, content}]}
    prompt_completion     {prompt, completion}              texts, or messages whose prompt holds no answer
    prompt_response       {prompt, response}
    problem_solution      {problem, solution}
    question_response     {question, response}
    instruction_response  {instruction, response}           Dolly's, with a context
    input_output          {input, output}
    query_answer          {query, answer}
    inputs_targets        {inputs, targets}
    chosen                {prompt, chosen, rejected}        only where `format=chosen` asks for it (data/preferences.py)

A row may also have a `system` text (or `system_prompt`, ...), and one that is a pair a `history` of earlier rounds,
[[prompt, response], ...], and a `context` (or `input`, `passage`, `article`), which follows the prompt as Alpaca's
input does. Turns may be spelt in other ways (data/spellings.py).

To add a format: a function here and its entry in `FORMATS`. Another distribution adds one by an entry point of the
group `sft_sweeps.formats` (registry.py) that leads to a `Format`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sft_sweeps.data.example import DropError
from sft_sweeps.data.roles import ASSISTANT, kind_of
from sft_sweeps.data.turn_flags import asked
from sft_sweeps.registry import Registry

Row = Mapping[str, Any]
Turn = tuple[str, str]  # role, text
SYSTEM_KEYS = ("system", "system_prompt", "system_message", "system_instruction")
CONTEXT_KEYS = ("context", "input", "passage", "article")  # what a prompt speaks of
CONVERSATIONS = ("conversations", "messages", "conversation")
PROMPT, RESPONSE, TURNS = "prompt", "response", "turns"  # what a key is used for
TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class Pair:
    """A row that is one prompt and one response, taken as they are; the reader drops what is no text, or empty.

    FastChat does not read what follows: `earlier` lists the rounds before it, `system` is the row's own system text,
    `context` what the prompt speaks of.
    """

    prompt: Any
    response: Any
    earlier: Any = ()
    system: Any = ""
    context: Any = ""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row that is the turns of a conversation, to be cleaned.

    `id` is the row's own. `plugins`: whether the assistant used any. `system` stands beside the turns, `unlearnt` are
    the places of answers that are given and not learnt; FastChat reads neither. `listed` are the turns as the row has
    them, for what they say beside their texts (data/tools.py).
    """

    turns: list[Turn]
    id: str = ""
    plugins: bool = False
    system: Any = ""
    unlearnt: frozenset[int] = frozenset()
    listed: Sequence[Any] = ()


@dataclass(frozen=True)
class Format:
    """How rows are read. `auto` takes the first format whose `fields` a row has, and what most rows have.

    `read` raises DropError (the reason, one word) for a row it cannot use; a KeyError is a row without a needed field.
    """

    fields: frozenset[str]
    read: Callable[[Row], Pair | Conversation]
    also: frozenset[str] = frozenset()  # fields that it reads where a row has them
    uses: Mapping[str, str] = field(default_factory=dict)  # what its fields are, in words (data/key_uses.py)


def pair(prompt: str, response: str) -> Format:
    """A format of two fields, with what a row may say beside them."""

    def read(row: Row) -> Pair:
        return Pair(row[prompt], row[response], row.get("history") or (), system_of(row), beside(row, prompt))

    also = frozenset({"history", *CONTEXT_KEYS, *SYSTEM_KEYS}) - {prompt}
    return Format(frozenset({prompt, response}), read, also, {prompt: PROMPT, response: RESPONSE})


def beside(row: Row, prompt: str) -> Any:
    """What a row's prompt speaks of; a tuple where several keys say different things."""
    found: list[Any] = []
    for value in (row.get(key) for key in CONTEXT_KEYS):
        if value not in (None, "", row[prompt], *found):
            found.append(value)
    return found[0] if len(found) == 1 else tuple(found) or ""


def system_of(row: Row) -> Any:
    """A row's own system text, whatever it calls it."""
    return next((row[key] for key in SYSTEM_KEYS if row.get(key)), "")


def with_input(prompt: str, context: str) -> str:
    """A prompt with what it speaks of, as Alpaca's are written."""
    return f"{prompt}\nInput:\n{context}"


def with_context(prompt: Any, context: Any) -> Any:
    """A prompt with what the row says beside it, where it says anything; DropError where that is not one text."""
    if isinstance(context, tuple):
        raise DropError("two_contexts")
    if not isinstance(context, str):
        raise DropError("not_text")
    return with_input(prompt, context) if context.strip() and isinstance(prompt, str) else prompt


def alpaca(row: Row) -> Pair:
    """Stanford Alpaca's. FastChat takes an input of one character for none."""
    prompt, response = row["instruction"], row["output"]
    context = row.get("input") or ""
    if not isinstance(prompt, str) or not isinstance(context, str):
        raise DropError("not_text")
    has_input = bool(prompt) and len(context.strip()) > 1
    whole = with_input(prompt, context) if has_input else prompt
    short = context if prompt and len(context.strip()) == 1 else ""  # none for FastChat
    return Pair(whole, response, row.get("history") or (), system_of(row), short or row.get("context") or "")


def conversation(row: Row) -> Conversation:
    """ShareGPT's, and OpenAI's messages."""
    return conversation_of(row[next((key for key in CONVERSATIONS if key in row), CONVERSATIONS[0])], row)


def prompt_completion(row: Row) -> Pair | Conversation:
    """Two texts, or two lists of messages, of which those of the completion are learnt."""
    prompt, completion = row["prompt"], row["completion"]
    if not isinstance(prompt, list) or not isinstance(completion, list):
        return PROMPT_COMPLETION.read(row)
    if any(kind_of(role) == ASSISTANT for role, _ in map(turn_of, prompt)):
        raise DropError("answer_in_prompt")
    return conversation_of([*prompt, *completion], row)


def conversation_of(turns: Any, row: Row) -> Conversation:
    """The turns of a list, with what the row says beside them."""
    if not isinstance(turns, list):
        raise DropError("not_text")
    listed = [turn_of(turn) for turn in turns]
    unlearnt = frozenset(place for place, turn in enumerate(turns) if asked(turn) == "leave")
    own_id, plugins = str(row.get("id") or ""), row.get("plugins") is not None
    return Conversation(listed, own_id, plugins, system_of(row), unlearnt, turns)


def turn_of(turn: Any) -> Turn:
    """Who speaks, and the text; DropError where either is missing."""
    if not isinstance(turn, dict):
        raise DropError("not_text")
    role, text = turn.get("from", turn.get("role")), _text(turn.get("value", turn.get("content")))
    if not isinstance(role, str) or text is None:
        raise DropError("not_text")
    return role, text


def _text(content: Any) -> str | None:
    """A text, or the parts of one joined, as chat templates write them; None where a part is none."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        return None
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    kinds = {part.get("type", TEXT_PARTS[0]) for part in content if isinstance(part, dict)}
    if not kinds.issubset(TEXT_PARTS) or not all(isinstance(part, str) for part in parts):
        return None
    return "".join(map(str, parts))


PROMPT_COMPLETION = pair("prompt", "completion")
ALPACA_ALSO = frozenset({"history", "context", "input", *SYSTEM_KEYS})
ALPACA_USES = {"instruction": PROMPT, "output": RESPONSE}
LISTED = frozenset({"id", "plugins", *SYSTEM_KEYS})
CHOSEN = "chosen"  # of preferences, which are read on request only


def _listed(key: str) -> Format:
    return Format(frozenset({key}), conversation, LISTED, {key: TURNS})


# In this order: a row that has the fields of two is of the first.
FORMATS: Registry[Format] = Registry(
    "format",
    "sft_sweeps.formats",
    lambda: {
        "question_answer": pair("question", "answer"),
        "query_response": pair("query", "response"),
        "alpaca": Format(frozenset({"instruction", "output"}), alpaca, ALPACA_ALSO, ALPACA_USES),
        "sharegpt": _listed("conversations"),
        "messages": _listed("messages"),
        "conversation": _listed("conversation"),
        "prompt_completion": replace(PROMPT_COMPLETION, read=prompt_completion),
        "prompt_response": pair("prompt", "response"),
        "problem_solution": pair("problem", "solution"),
        "question_response": pair("question", "response"),
        "instruction_response": pair("instruction", "response"),
        "input_output": pair("input", "output"),
        "query_answer": pair("query", "answer"),
        "inputs_targets": pair("inputs", "targets"),
    },
)
AUTO = "auto"  # the format that most of a file's first rows have


def valid_names() -> tuple[str, ...]:
    """What `data.sources.<name>.format` may be."""
    return (AUTO, CHOSEN, *FORMATS.names)
