"""The tables of docs/models.md are what comes out: `make goldens` writes them from real runs, a test compares them.

How far a family is from transformers' own differs in its last digits from machine to machine: the numbers are only held
to the limit.
"""

import re
from pathlib import Path

import goldens
import pytest
import torch
from chat_templates import LOSE_EARLIER_THOUGHTS, LOSE_THOUGHTS, TEMPLATES, folder_with
from common import ROOT
from decoders import FAMILIES, PADDED, made
from transformers import AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration

from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.errors import RequestError
from sft_sweeps.train import decoder

PAGE = ROOT / "docs" / "models.md"
NUMBER = re.compile(r"\d\.\de-\d\d")


def compared(name: str, lines: list[str]) -> None:
    """The lines stand between the marks of that name, but for numbers; with GOLDENS=write they are put there."""
    page = PAGE.read_text(encoding="utf-8")
    before, start, rest = page.partition(f"<!-- {name} -->\n")
    old, end, behind = rest.partition(f"<!-- end of {name} -->")
    assert start
    assert end
    new = "".join(f"{line}\n" for line in ["", *lines, ""])
    if goldens.writing():
        PAGE.write_text(before + start + new + end + behind, encoding="utf-8")
        old = new
    assert NUMBER.sub("", old) == NUMBER.sub("", new), "where it should differ, run `make goldens`"
    assert all(float(number) <= decoder.TOLERANCE for number in NUMBER.findall(old + new))


@pytest.mark.slow
def test_families() -> None:
    lines = ["| `model_type` | trained in | differs by |", "|---|---|---|"]
    for family in sorted(FAMILIES):
        padded = family in PADDED
        apart = decoder.difference(made(family), padded=padded)
        lines.append(f"| {family} | {'padded rows' if padded else 'rows of several examples'} | {apart:.1e} |")
    compared("families", lines)


@pytest.mark.slow
@pytest.mark.skipif(not TEMPLATES, reason="trl, whose chat templates are tried, is not installed")
def test_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_trial, "check", lambda *_: None)  # a process each
    lines = ["| template | | |", "|---|---|---|"]
    accepted = 0
    for name in TEMPLATES:
        folder = folder_with(name, tmp_path)
        verdict, why = "accepted", ""
        try:
            Encoder(folder, "chat_template", 999)
        except RequestError as error:
            verdict, why = "refused", str(error).partition(f"{folder} ")[2].partition(". ")[0]
        if name in LOSE_THOUGHTS:
            why = "rows with thoughts are refused: it leaves them out"
        if name in LOSE_EARLIER_THOUGHTS:
            why = "rows with thoughts in turns before the last are refused: it leaves them out"
        accepted += verdict == "accepted"
        lines.append(f"| {name} | {verdict} | {why} |")
    compared("templates", [f"Of {len(TEMPLATES)}, {accepted} are accepted.", "", *lines])


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
