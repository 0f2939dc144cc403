"""How a conversation is written as one text.

    vicuna_v1.1   <bos>SYSTEM USER: prompt ASSISTANT: response<eos>USER: prompt ASSISTANT: response<eos>
    vicuna_bare   the same without the system sentence
    alpaca        <bos>SYSTEM\\n\\n### Instruction:\\nprompt\\n\\n### Response:response<eos>   (Stanford Alpaca's prompt
                  without an input, as gsm8k-ScRel trained on it)

A template turns each round into a segment of two texts. The first is given to the model and ends with the assistant's
colon; the second is what the model learns to write (Vicuna's begins with the separator space), the end-of-sequence
token after it included. A conversation's own system text stands in Vicuna's place for one. Texts are taken as they are:
nothing is stripped or escaped. `chat_template` names the tokenizer's own (data/encode/chat_template.py), and is none of
these.

To add a template: an entry in `TEMPLATES`. Another distribution adds one by an entry point of the group
`sft_sweeps.templates` (registry.py) that leads to a `Template`. A template enters an identity by its name: one whose
texts change needs another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sft_sweeps.errors import RequestError
from sft_sweeps.models.tokenizer import CHAT
from sft_sweeps.registry import Registry


@dataclass(frozen=True, slots=True)
class Template:
    """What stands around the texts: before the first prompt, before and after every prompt, before a response."""

    system: str = ""
    before: str = "USER: "
    after: str = " ASSISTANT:"
    separator: str = " "
    own_system: str | None = None  # what follows a conversation's own system text; None: it has no place for one
    fastchat: bool = False  # whether FastChat trains with it, so that its faults can be asked for

    def opening(self, prompt: str, first: bool, system: str = "") -> str:
        """What the model is given before it answers `prompt`; a conversation's own `system` text replaces that here."""
        beginning = f"{system}{self.own_system or ''}" if system else self.system
        return f"{beginning if first else ''}{self.before}{prompt}{self.after}"


VICUNA = Template(
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. ",
    own_system=" ",
    fastchat=True,
)
ALPACA = Template(
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
    before="### Instruction:\n",
    after="\n\n### Response:",
    separator="",
)
TEMPLATES: Registry[Template] = Registry(
    "template",
    "sft_sweeps.templates",
    lambda: {"vicuna_v1.1": VICUNA, "vicuna_bare": Template(own_system=" ", fastchat=True), "alpaca": ALPACA},
)


def valid_names() -> tuple[str, ...]:
    """What `train.template` may be."""
    return (*TEMPLATES.names, CHAT)


def fastchat_names() -> tuple[str, ...]:
    """The templates that `data.bug_compatible` speaks of."""
    return tuple(name for name, template in TEMPLATES.all.items() if template.fastchat)


def find(name: str) -> Template:
    """The template of that name; RequestError lists the valid ones."""
    if name not in TEMPLATES.names:
        raise RequestError(f"template {name} is not known. Choose train.template from {', '.join(valid_names())}.")
    return TEMPLATES.get(name)


def segments(template: str, rounds: Sequence[tuple[str, str]], system: str = "") -> list[tuple[str, str]]:
    """Each round as (what is given, what is learnt); the text is their concatenation with eos after each."""
    texts = find(template)
    return [
        (texts.opening(prompt, not index, system), texts.separator + response)
        for index, (prompt, response) in enumerate(rounds)
    ]


def generation_prompt(template: str, rounds: Sequence[tuple[str, str]], prompt: str) -> str:
    """What is given after the segments of `rounds` for the model to answer `prompt`."""
    return find(template).opening(prompt, first=not rounds)


def chat_template(template: str) -> str:
    """The same text for `apply_chat_template`: Jinja over messages of the roles user and assistant, in turn.

    Empty for the tokenizer's own, which its folder has already.
    """
    if template.startswith(CHAT):
        return ""
    texts = find(template)
    before, after = _quoted(texts.before), _quoted(texts.after)
    parts = [
        "{{ bos_token }}",
        f"{{{{ {_quoted(texts.system)} }}}}" if texts.system else "",
        "{% for message in messages %}",
        "{% if message['role'] != ('assistant' if loop.index0 % 2 else 'user') %}",
        "{{ raise_exception('Messages must be of the roles user and assistant in turn, the user first.') }}",
        "{% elif message['role'] == 'user' %}",
        f"{{{{ {before} + message['content'] }}}}",
        "{% else %}",
        f"{{{{ {_quoted(texts.after + texts.separator)} + message['content'] + eos_token }}}}",
        "{% endif %}",
        "{% endfor %}",
        "{% if add_generation_prompt and messages[-1]['role'] == 'user' %}",
        f"{{{{ {after} }}}}",
        "{% endif %}",
    ]
    return "".join(parts)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
