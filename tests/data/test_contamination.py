"""Test items that stand in the rows of a source."""

import json
from pathlib import Path

from sft_sweeps.data.contamination import Items, files_in
from sft_sweeps.data.example import Example


def test_items_are_found_in_rows_and_short_ones_only_whole(tmp_path: Path) -> None:
    long = " ".join(f"word{n}" for n in range(20))
    rows = [
        {"question": long},
        {"question_id": 9, "turns": ["one two three four five six seven"]},
        {"prompt": "2 + 2?"},
    ]
    for name in ("test", "test_reference_answers"):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = Items(files_in(tmp_path))
    texts = {
        "hit": "Well: " + " ".join(f"WORD{n}," for n in range(4, 17)),
        "near": " ".join(f"word{n}" for n in range(12)),
        "whole": "he said one two three four five six seven eight",
        "part": "one two three four five six",
        "short": "2 + 2?",
    }
    for name, text in texts.items():
        items.check(Example(f"s/{name}", (("q", text),)))
    assert (list(items.hits), items.hits["test"].items) == (["test"], 3)
    assert items.hits["test"].found == {"0": ["s/hit"], "9": ["s/whole"]}
