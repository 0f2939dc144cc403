"""Ids that must not move: a change here means that everybody's finished stages are trained again."""

import json
from pathlib import Path

from common import Points

from sft_sweeps.config.resolve import request
from sft_sweeps.plan import build

# study=table1 at 7B; general is left out, whose file has no pin.
TABLE1 = {
    "llama7b--math": "c09482f71559",
    "llama7b--code": "cdcf72cfaeec",
    "llama7b--code--math": "367d151da025",
    "llama7b--code+math": "393f0eadc56b",
}
# study=quickstart with the tokenizer below.
QUICKSTART = {
    "mini--math": "c96e018b5faf",
    "mini--code": "ccef144305fa",
    "mini--general": "338a2739b39b",
    "mini--general+code+math": "41fb622966f7",
    "mini--code--math": "5fa2cd790b81",
    "mini--code--math--general": "3ac9ae300d71",
    "mini--code+math": "8552263a732a",
    "mini--code+math--general": "76af293ceb4d",
    "mini--code+math--general+code@1_16+math@1_16": "53f48a0e3429",
    "mini--code+math--general+code@1_4+math@1_4": "24dc4c05407f",
}
TOKENIZER = {"added_tokens": [{"id": 0, "content": "<unk>"}], "model": {"type": "BPE", "vocab": {"a": 1, "b": 2}}}


def labels(built: build.Plan) -> dict[str, str]:
    return {stage.label: stage.id for stage in built.stages if not stage.provisional}


def test_table1(points: Points) -> None:
    built = build.build([(p.name, request(p.config)) for p in points("study=table1", "model=llama7b")])
    assert labels(built) == TABLE1


def test_quickstart(points: Points, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps(TOKENIZER, indent=3))
    built = build.build(
        [(p.name, request(p.config)) for p in points("study=quickstart", f"model.tokenizer={tokenizer}")]
    )
    assert labels(built) == QUICKSTART
