"""Ids that must not move: a change here means that everybody's finished stages are trained again."""

import json
from pathlib import Path

from conftest import Points

from sft_sweeps import plan
from sft_sweeps.resolve import request

# study=table1 at 7B; general is left out, whose file has no pin.
TABLE1 = {
    "llama7b--math": "3a1abba53749",
    "llama7b--code": "e88282ebcdf9",
    "llama7b--code--math": "b192cce38aaf",
    "llama7b--code+math": "6e75af9d60ce",
}
# study=quickstart with the tokenizer below.
QUICKSTART = {
    "mini--math": "07c0b82905bd",
    "mini--code": "7fb7b736937a",
    "mini--general": "9163b20be1db",
    "mini--general+code+math": "2be3c3f4e144",
    "mini--code--math": "9b7cd64de4c4",
    "mini--code--math--general": "457a005bd56b",
    "mini--code+math": "bcbd179b948b",
    "mini--code+math--general": "232e9d047829",
    "mini--code+math--general+code@1_16+math@1_16": "9278a4f344cf",
    "mini--code+math--general+code@1_4+math@1_4": "aacb58d363d0",
}
TOKENIZER = {"added_tokens": [{"id": 0, "content": "<unk>"}], "model": {"type": "BPE", "vocab": {"a": 1, "b": 2}}}


def labels(built: plan.Plan) -> dict[str, str]:
    return {stage.label: stage.id for stage in built.stages if not stage.provisional}


def test_table1(points: Points) -> None:
    built = plan.build([(p.name, request(p.config)) for p in points("study=table1", "model=llama7b")])
    assert labels(built) == TABLE1


def test_quickstart(points: Points, tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text(json.dumps(TOKENIZER, indent=3))
    built = plan.build(
        [(p.name, request(p.config)) for p in points("study=quickstart", f"model.tokenizer={tokenizer}")]
    )
    assert labels(built) == QUICKSTART
