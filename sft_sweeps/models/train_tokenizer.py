"""A byte-level BPE tokenizer trained on given texts.

A text is cut into digits one by one and into words with the space before them (a space before a digit goes to the word
before it, so that a digit has one form only), the bytes of each piece are merged by BPE, and decoding gives back every
text exactly. `<unk>`, `<s>` and `</s>` are the ids 0, 1 and 2. Training is deterministic: the same texts and size give
the same file.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.trainers import BpeTrainer

from sft_sweeps.models import tokenizer as vocabulary

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")
UNKNOWN, START, END = range(3)
BYTES = 256
FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
PIECES = r"\d| ?\p{L}+(?: (?=\d))?| ?[^\s\p{L}\d]+(?: (?=\d))?|\s+(?!\S)|\s+"


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer with at most `vocab_size` tokens, of which 3 are special and 256 the single bytes."""
    least = len(SPECIAL_TOKENS) + BYTES
    if vocab_size < least:
        raise ValueError(f"vocab_size={vocab_size} is less than the {least} that every text needs")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Sequence([Split(Regex(PIECES), "isolated"), ByteLevel(False, use_regex=False)])
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def copy(source: Path, folder: Path) -> None:
    """Copy a tokenizer to a folder: a folder's files, or one tokenizer.json as `save` writes it."""
    if source.is_file():
        save(Tokenizer.from_file(str(source)), folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    vocabulary.complete(folder)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write what `AutoTokenizer.from_pretrained(folder)` loads with the same ids."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True) + "\n", encoding="utf-8")
    unknown, start, end = SPECIAL_TOKENS
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": unknown,
        "bos_token": start,
        "eos_token": end,
        "pad_token": unknown,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
