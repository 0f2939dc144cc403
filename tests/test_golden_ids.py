"""Ids that must not move: a change here means that everybody's finished stages are trained again."""

import json
from pathlib import Path

from conftest import Points

from sft_sweeps import plan
from sft_sweeps.resolve import request

# study=table1 at 7B; general is left out, whose file has no pin.
TABLE1 = {
    "llama7b--math": "ce1f302fb4e1",
    "llama7b--code": "88638cbca4be",
    "llama7b--code--math": "056181241db3",
    "llama7b--code+math": "61551f53ab43",
}
# study=quickstart with the tokenizer below.
QUICKSTART = {
    "mini--math": "ce546c976458",
    "mini--code": "0600352100bf",
    "mini--general": "7d9ee0fcb9d6",
    "mini--general+code+math": "024e0f333b8c",
    "mini--code--math": "9d898aaf7fed",
    "mini--code--math--general": "aa6cbee35297",
    "mini--code+math": "942bf8577f23",
    "mini--code+math--general": "882f0961451e",
    "mini--code+math--general+code@1_16+math@1_16": "58abf32bf88f",
    "mini--code+math--general+code@1_4+math@1_4": "2517b7204a84",
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
