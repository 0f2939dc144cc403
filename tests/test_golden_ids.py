"""Ids that must not move: a change here means that everybody's finished stages are trained again."""

import json
from pathlib import Path

from conftest import Points

from sft_sweeps import plan
from sft_sweeps.resolve import request

# study=table1 at 7B; general is left out, whose file has no pin.
TABLE1 = {
    "llama7b--math": "3b0c4c0949f8",
    "llama7b--code": "ee9c695575a0",
    "llama7b--code--math": "81423e898ddb",
    "llama7b--code+math": "09218014a030",
}
# study=quickstart with the tokenizer below.
QUICKSTART = {
    "mini--math": "a76714431210",
    "mini--code": "857d67fdfcca",
    "mini--general": "b7b040ff58c3",
    "mini--general+code+math": "b169bd58566e",
    "mini--code--math": "1d83e6583d53",
    "mini--code--math--general": "a32b29b69557",
    "mini--code+math": "df9f620b07c7",
    "mini--code+math--general": "7f026f8d5a5c",
    "mini--code+math--general+code@1_16+math@1_16": "ff6c2cf17d8c",
    "mini--code+math--general+code@1_4+math@1_4": "5c395d6452ac",
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
