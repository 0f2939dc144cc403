"""How a conversation is written as one text.

    <bos>SYSTEM USER: prompt ASSISTANT: response<eos>USER: prompt ASSISTANT: response<eos>

A template turns each round into a segment of two texts. The first is given to the model and ends with the assistant's
colon; the second starts with the separator space and is what the model learns to write, the end-of-sequence token after
it included. Texts are taken as they are: nothing is stripped or escaped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sft_sweeps.errors import RequestError


@dataclass(frozen=True, slots=True)
class Template:
    """What stands around the texts: the system sentence (may be empty) and the names of the two sides."""

    system: str
    user: str = "USER"
    assistant: str = "ASSISTANT"

    def opening(self, prompt: str, first: bool) -> str:
        """What the model is given before it answers `prompt`."""
        system = f"{self.system} " if first and self.system else ""
        return f"{system}{self.user}: {prompt} {self.assistant}:"


TEMPLATES: dict[str, Template] = {
    "vicuna_v1.1": Template(
        "A chat between a curious user and an artificial intelligence assistant. "
        "The assistant gives helpful, detailed, and polite answers to the user's questions."
    ),
    "vicuna_bare": Template(""),
}


def find(name: str) -> Template:
    """The template of that name; RequestError lists the valid ones."""
    if name not in TEMPLATES:
        raise RequestError(f"template {name} is not known. Choose train.template from {', '.join(TEMPLATES)}.")
    return TEMPLATES[name]


def segments(template: str, rounds: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each round as (what is given, what is learnt); the text is their concatenation with eos after each."""
    of = find(template)
    return [(of.opening(prompt, first=not place), f" {response}") for place, (prompt, response) in enumerate(rounds)]


def generation_prompt(template: str, rounds: Sequence[tuple[str, str]], prompt: str) -> str:
    """What is given after the segments of `rounds` for the model to answer `prompt`."""
    return find(template).opening(prompt, first=not rounds)


def chat_template(template: str) -> str:
    """The same text for `apply_chat_template`: Jinja over messages of the roles user and assistant, in turn."""
    of = find(template)
    system = of.system.replace("'", "\\'")
    parts = [
        "{{ bos_token }}",
        f"{{{{ '{system} ' }}}}" if system else "",
        "{% for message in messages %}",
        "{% if message['role'] != ('assistant' if loop.index0 % 2 else 'user') %}",
        "{{ raise_exception('Messages must be of the roles user and assistant in turn, the user first.') }}",
        "{% elif message['role'] == 'user' %}",
        f"{{{{ '{of.user}: ' + message['content'] }}}}",
        "{% else %}",
        f"{{{{ ' {of.assistant}: ' + message['content'] + eos_token }}}}",
        "{% endif %}",
        "{% endfor %}",
        "{% if add_generation_prompt and messages[-1]['role'] == 'user' %}",
        f"{{{{ ' {of.assistant}:' }}}}",
        "{% endif %}",
    ]
    return "".join(parts)
