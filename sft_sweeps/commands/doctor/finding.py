"""One line of what `sft-sweeps doctor` says."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape

from sft_sweeps.terminal import say


@dataclass(frozen=True)
class Finding:
    """One line. `change`: what to do about a problem."""

    level: Literal["ok", "note", "problem"]
    about: str
    text: str
    change: str = ""


SCHEMA = 1
COLORS = {"ok": "green", "note": "yellow", "problem": "red"}


def show(findings: Iterable[Finding], out: Console) -> list[Finding]:
    """One line each, as soon as it is known, and how many problems."""
    seen = []
    for one in findings:
        seen.append(one)
        change = f"; change: {one.change}" if one.change else ""
        say(out, f"[{COLORS[one.level]}]{one.level:7}[/] {escape(f'{one.about}: {one.text}{change}')}")
    count = sum(one.level == "problem" for one in seen)
    out.print(f"{count} problem{'s' * (count != 1)}")
    return seen


def to_json(findings: list[Finding], topic: str = "slurm") -> dict[str, Any]:
    """The findings as JSON can hold them."""
    return {"schema": SCHEMA, "topic": topic, "findings": [asdict(one) for one in findings], "ok": healthy(findings)}


def healthy(findings: list[Finding]) -> bool:
    """No problem was found."""
    return all(one.level != "problem" for one in findings)
