"""Markdown from templates in which every value is text, unless it is said to be Markdown.

A label, a source's name or a message may hold anything: none of it may become a heading, a tag, an image or a cell.
"""

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sft_sweeps.errors import visible

TEMPLATES = Path(__file__).with_name("templates")
# What means something within a line (an underscore only at a word's edge), and what does at its beginning.
MARKS = re.compile(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))")
FIRST = re.compile(r"^(\d*)([-+#=.)])(?=[-#=]*(?:\s|$))")


class Markdown(str):
    """A text that is Markdown already."""

    __slots__ = ()


def escape(value: Any) -> str:
    """A value as text of one line in Markdown; Markdown itself stays."""
    if isinstance(value, Markdown):
        return value
    line = " ".join(visible(str(value)).split())
    return html.escape(FIRST.sub(r"\1\\\2", MARKS.sub(r"\\\1", line)), quote=False)


def code(value: Any) -> Markdown:
    """A value as code within a line, also in a table."""
    line = " ".join(visible(str(value)).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if "`" in line else ""
    return Markdown(f"{fence}{pad}{line}{pad}{fence}".replace("|", "\\|"))


def block(value: Any, language: str = "sh") -> Markdown:
    """Lines as a block of code."""
    text = visible(str(value))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return Markdown(f"{fence}{language}\n{text}\n{fence}")


def link(shown: str, target: str) -> Markdown:
    """A text that leads somewhere."""
    return Markdown(f"[{escape(shown)}](<{target}>)")


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Markdown:
    """A table; every cell is text, or Markdown."""
    lines = [header, ["---"] * len(header), *([escape(cell) for cell in row] for row in rows)]
    return Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines))


def render(template: str, context: dict[str, Any]) -> str:
    """A template of this package with its values filled in."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=False,  # that is for HTML; `finalize` escapes for Markdown
        finalize=escape,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"code": code, "block": block}
    return str(environment.get_template(template).render(context))
