"""One line of what `sft-sweeps doctor` says."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sft_sweeps.terminal import counted, say

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line. `change`: what to do about a warning or a problem."""

    level: Level
    about: str
    text: str
    change: str = ""


SCHEMA = 2  # 1 said `note` for a warning
COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}
SHOWN_OK = 4  # of a topic's lines that are well, where all topics are asked
Found = list[tuple[str, Finding]]  # with their topics


def show(topics: Mapping[str, Iterable[Finding]], out: Console, alone: Callable[[str], str]) -> Found:
    """One line each, as soon as it is known, and how many problems; of several topics each below its name.

    `alone` is what is typed to ask one topic alone.
    """
    seen: Found = []
    for topic, findings in topics.items():
        if len(topics) > 1:
            say(out, f"[bold]{topic}[/]")
        well = 0
        for one in findings:
            seen.append((topic, one))
            well += one.level == "ok"
            if one.level != "ok" or len(topics) == 1 or well <= SHOWN_OK:
                _line(one, out)
        if len(topics) > 1 and well > SHOWN_OK:
            say(out, f"[green]ok     [/] {well - SHOWN_OK} more: {escape(alone(topic))}")
    say(out, _summary(seen, len(topics)))
    return seen


def _line(one: Finding, out: Console) -> None:
    """On a terminal what to do stands below, for eyes; elsewhere behind, for programs that read lines."""
    text = escape(f"{one.about}: {one.text}")
    level = f"[{COLORS[one.level]}]{one.level:7}[/]"
    if not out.is_terminal:
        say(out, f"{level} {text}{escape(f'; change: {one.change}') if one.change else ''}")
        return
    rows = Table.grid(padding=(0, 1))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")  # what is to be typed is never cut
    rows.add_row(level, text)
    if one.change:
        rows.add_row("", f"→ [bold]{escape(one.change)}[/]")
    out.print(rows)


def _summary(seen: Found, topics: int) -> str:
    counts = Counter(one.level for _, one in seen)
    what = [counted(counts[level], level) for level in ("problem", "warning")]
    where = dict.fromkeys(topic for topic, one in seen if one.level != "ok")
    text = what[0] if topics == 1 and not counts["warning"] else ", ".join(what)
    return f"{text} ({', '.join(where)})" if topics > 1 and where else text


def to_json(found: Found, topic: str) -> dict[str, Any]:
    """The findings as JSON can hold them."""
    findings = [{"topic": of, **asdict(one)} for of, one in found]
    return {"topic": topic, "findings": findings, "ok": healthy(one for _, one in found)}


def healthy(findings: Iterable[Finding]) -> bool:
    """No problem was found."""
    return all(one.level != "problem" for one in findings)
