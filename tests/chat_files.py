"""A file of conversations, some of them of no use."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from sft_sweeps.files.content import content_pin
from sft_sweeps.spec.data import Source


def chats(path: Path, count: int, **more: Any) -> Source:
    """Conversations of 1 to 4 rounds, of which every seventh row is of no use and every fifth begins too late."""
    rows: list[Any] = []
    for n in range(count):
        turns = [text for k in range(1 + n % 4) for text in (f"question {n} {k}?", f"answer {n * k} " + "x " * (n % 9))]
        conversation = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(turns)]
        start = [{"from": "gpt", "value": "..."}] if n % 5 == 0 else []
        rows.append({"id": f"chat{n // 3}_{n}", "conversations": start + conversation} if n % 7 else {"id": f"x_{n}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    content, found = content_pin(path)
    made = Source("chat", content, "auto", "general", "general", found, "counted", str(path), max_bad_fraction=0.5)
    return replace(made, **more)
