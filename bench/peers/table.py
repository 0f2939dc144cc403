"""The recorded comparison as a table of Markdown, for the screen and for docs/speed.md."""

from collections.abc import Iterator, Mapping
from typing import Any

HEAD = ("what", "ours", "theirs", "beside", "times as good", "")


def table(found: Mapping[str, Any]) -> str:
    """A line for each row of each peer that ran; the others are named below it with the reason."""
    lines = [HEAD, tuple("---" for _ in HEAD)]
    lines += [_cells(peer, row) for peer in found["peers"] for row in peer.get("rows", [])]
    text = "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("|  |", "| |")
    return text + "".join(
        f"\nNOT RUN: {peer['title']}: {peer['not_run']}\n" for peer in found["peers"] if "not_run" in peer
    )


def _cells(peer: Mapping[str, Any], row: Mapping[str, Any]) -> tuple[str, ...]:
    beside = ", ".join(filter(None, (f"{peer['title']} {peer['version']}", row["how"])))
    return f"{row['what']}: {row['unit']}", number(row["ours"]), number(row["theirs"]), beside, times(row), row["note"]


def times(row: Mapping[str, Any]) -> str:
    """The median of the rounds with the least and the most; a loss is called one."""
    if not row["times"]:
        return ""
    ordered = sorted(row["times"])
    middle = row["ours"] / row["theirs"] if row["better"] == "more" else row["theirs"] / row["ours"]
    spread = f" ({number(ordered[0])}-{number(ordered[-1])})" if number(ordered[0]) != number(ordered[-1]) else ""
    return f"{number(middle)}{spread}{' **lost**' if middle < 1 else ''}"


def number(value: float) -> str:
    """Three digits or so."""
    if value >= 10_000_000:
        return f"{value / 1e6:,.0f} M"
    if value >= 1_000_000:
        return f"{value / 1e6:.1f} M"
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def differences(found: Mapping[str, Any]) -> Iterator[str]:
    """Each answer on which a verdict differs, with what both say of it."""
    for peer in found["peers"]:
        for row in peer.get("rows", []):
            for one in row["differences"]:
                yield f"{peer['title']}, {row['what']}: {', '.join(f'{key} {value!r}' for key, value in one.items())}"
