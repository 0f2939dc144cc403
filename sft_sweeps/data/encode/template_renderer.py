"""A chat template as a function, rendered as transformers does."""

import json
from typing import Any

from sft_sweeps.errors import RequestError


def renderer(text: str, settings: dict[str, Any]) -> Any:
    """As transformers renders it: a sandbox, blocks trimmed, the special tokens by name."""
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):  # type: ignore[misc]
        """`{% generation %}` marks answers for others; it writes nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = lambda value, **given: json.dumps(value, ensure_ascii=False, **given)
    environment.globals["raise_exception"] = _raise
    tokens = {key: value for key, value in settings.items() if key.endswith("_token") and value}
    named_tokens = {key: value["content"] if isinstance(value, dict) else value for key, value in tokens.items()}
    try:
        template = environment.from_string(text, globals=named_tokens)
    except Exception as error:  # jinja's own kinds are many
        raise RequestError(f"the chat template cannot be read: {error}. Choose another train.template.") from None
    return template.render


def _raise(message: str) -> None:
    raise ValueError(message)
