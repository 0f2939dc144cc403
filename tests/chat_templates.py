"""The chat templates that TRL ships, what is refused of them and why, and folders with them."""

import importlib.util
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from sft_sweeps.models import train_tokenizer as bpe

VERSION = "1.16.0"
DATED = "it writes the date of the day"
NOT_FOLLOWED = {
    "glm4moe": "does not end a response with a special token",
    "gptoss": DATED,
    "gptoss_training": DATED,
    "llama3_2": DATED,
    "muse_glimmer": DATED,
    "muse_glimmer_training": DATED,
}
# Those that leave out what was thought, of any turn, and of all turns but the last.
LOSE_THOUGHTS = ("deepseek_r1_distill", "deepseekv3", "deepseekv3_training", "glm4moe_training")
LOSE_EARLIER_THOUGHTS = (
    *("lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6"),
    *(f"nemotron_3_{size}{use}" for size in ("5_lightning", "nano", "super", "ultra") for use in ("", "_training")),
)
SPECIAL = re.compile(
    r"<[|｜][^<>|｜]+[|｜]>|<\|[a-z_]+>|<[a-z_]+\|>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn|end_of_utterance|turn\||\|turn|image)>|\[/?INST\]"
)


def shipped() -> dict[str, Path]:
    found = importlib.util.find_spec("trl")
    if found is None or not found.submodule_search_locations or metadata.version("trl") != VERSION:
        return {}
    folder = Path(found.submodule_search_locations[0]) / "chat_templates"
    return {path.stem: path for path in sorted(folder.glob("*.jinja"))}


TEMPLATES = shipped()


@cache
def tokenizer(special: tuple[str, ...]) -> Any:
    made = bpe.train(["USER: Tom has 3 apples. ASSISTANT: 3 and 4 is 7.", "def f(x):\n    return x\n"] * 20, 400)
    made.add_special_tokens(list(special))
    return made


def folder_with(name: str, root: Path) -> Path:
    """A folder with a template and a tokenizer that has its special tokens."""
    text = TEMPLATES[name].read_text(encoding="utf-8")
    path = root / name
    bpe.save(tokenizer(tuple(sorted({*SPECIAL.findall(text)}))), path)
    (path / "chat_template.jinja").write_text(text, encoding="utf-8")
    return path
