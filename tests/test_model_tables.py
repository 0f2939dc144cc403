"""What docs/models.md shows of chat templates, and of models that also see, is what comes out."""

import re
from pathlib import Path

import goldens
import pytest
import torch
from chat_templates import LOSE_EARLIER_THOUGHTS, LOSE_THOUGHTS, TEMPLATES, folder_with
from common import ROOT
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.errors import RequestError
from sft_sweeps.train import decoder

PAGE = ROOT / "docs" / "models.md"


@pytest.mark.skipif(not TEMPLATES, reason="trl, whose chat templates are tried, is not installed")
def test_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_trial, "check", lambda *_: None)  # a process each
    lines = ["| template | | tools | |", "|---|---|---|---|"]
    accepted = rendered = 0
    for name in TEMPLATES:
        folder = folder_with(name, tmp_path)
        verdict, why, tools = "accepted", "", ""
        try:
            tools = "rendered" if Encoder(folder, "chat_template", 999).takes_tools else ""
        except RequestError as error:
            verdict, why = "refused", str(error).partition(f"{folder} ")[2].partition(". ")[0]
        if name in LOSE_THOUGHTS:
            why = "rows with thoughts are refused: it leaves them out"
        if name in LOSE_EARLIER_THOUGHTS:
            why = "rows with thoughts in turns before the last are refused: it leaves them out"
        accepted += verdict == "accepted"
        rendered += bool(tools)
        lines.append(f"| {name} | {verdict} | {tools} | {why} |")
    said = f"Of {len(TEMPLATES)}, {accepted} are accepted, of which {rendered} render tools."
    goldens.compare_part(PAGE, "templates", [said, "", *lines])


def test_the_language_model_of_one_that_sees_is_saved_as_the_page_says(tmp_path: Path) -> None:
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 1, "head_dim": 16, "vocab_size": 97, "sliding_window": 6}
    sees = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(
        text_config=text, vision_config={**sees, "image_size": 28, "patch_size": 14}, image_token_index=92
    )
    model = Gemma3ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path / "sees")
    exec(block[1].replace("SEES", repr(str(tmp_path / "sees"))).replace("TEXT", repr(str(tmp_path / "text"))))
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "text").eval()
    ids = torch.arange(3, 20)[None]
    torch.testing.assert_close(found(input_ids=ids).logits, model(input_ids=ids).logits)
    assert decoder.refusal(found.config) == ""
    assert "its language model is trained" in decoder.refusal(config)
