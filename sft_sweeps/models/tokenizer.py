"""The tokenizer of a folder: read, converted where only SentencePiece's model is there, and compared with it.

`content` is what a folder's tokenizer.json says; where there is a tokenizer.model alone, it is converted as
transformers 4.33 did: merges in the order of the scores of what they make. transformers 5 orders them by id, which
gives double spaces and indentation other ids, so `check` compares with SentencePiece, or with the ids that LLaMA's own
vocabulary is known to give, and refuses a difference.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_sweeps.errors import RequestError
from sft_sweeps.files import foreign
from sft_sweeps.identity import VERSIONS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "\u2581"  # how SentencePiece writes a space
FAST, SLOW, CONFIG = "tokenizer.json", "tokenizer.model", "tokenizer_config.json"
TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]+")
CHAT_TEMPLATE = "chat_template.jinja"
CHAT = "chat_template"  # as train.template: the tokenizer's own
# Texts to which a wrong conversion gives other ids. None begins with a space, where tokenizers may differ.
PROBES = (
    "def f(x):\n    if x:\n        return  x + 1\n\n\n    return   None",
    "a  two spaces between,  two after  ",
    "b\tTabs\t\tand\r\n  line ends \n \n",
    "USER: 2 + 2 = 4, 1234567890 ASSISTANT: <<48/2=24>>24 #### 72",
    "naïve café – “quotes” … 数学 العربية 👩‍👩‍👧 \ufeff",
    "c                                        x",
)
# Of the sorted vocabulary of a tokenizer without its model, the SHA-256; and the one of the probes' ids.
KNOWN = {
    # LLaMA and LLaMA-2
    "d182db49d05efb7a55421d033bd6d75099b1d7af5b34b7ff2a55215195e39d7a": (
        "8f5865217979d76d49b59aaacda5976fb3ee8788e5af7ea46ded598cafa92f21"
    ),
}


def file_of(path: Path) -> Path:
    """A folder's tokenizer.json, or its tokenizer.model where that is alone; a file itself."""
    if not path.is_dir():
        return path
    return path / (SLOW if (path / SLOW).is_file() and not (path / FAST).is_file() else FAST)


def content(path: Path) -> dict[str, Any]:
    """A tokenizer.json's content, from the file itself or a folder with it or with a tokenizer.model.

    Raises OSError or ValueError where there is none that can be read.
    """
    file = file_of(path)
    if file.name == SLOW:
        stat = file.stat()
        return _converted(str(file), stat.st_size, stat.st_mtime_ns)
    return foreign.read_object(file)


def text(folder: Path) -> str:
    """`content` as JSON."""
    return json.dumps(content(folder))


def settings(folder: Path) -> dict[str, Any]:
    """A folder's tokenizer_config.json; beside a tokenizer.model alone, what that says of its special tokens."""
    path = folder / CONFIG
    named: dict[str, Any] = _special_tokens(folder / SLOW) if _has_model(folder) else {}
    if named and not path.is_file():
        return named
    value = foreign.read_object(path)
    return {**value, **{key: token for key, token in named.items() if not value.get(key)}}


def chat_template(folder: Path) -> str:
    """The chat template of a tokenizer's folder; RequestError where it has none."""
    if (folder / CHAT_TEMPLATE).is_file():
        return foreign.read_text(folder / CHAT_TEMPLATE)
    try:
        template = settings(folder).get("chat_template")
    except (OSError, ValueError):
        template = None
    if isinstance(template, list):
        named = (one for one in template if isinstance(one, dict) and one.get("name") == "default")
        template = next(named, {}).get("template")
    if not isinstance(template, str) or not template:
        raise RequestError(
            f"train.template={CHAT}: {folder} has no {CHAT_TEMPLATE} and no chat_template in {CONFIG}. "
            "Choose another train.template, e.g. vicuna_v1.1."
        )
    return template


def chat_template_pin(text: str) -> str:
    """The name under which a chat template enters an identity."""
    versioned = f"{VERSIONS['chat_template']}\n{text}"
    return f"{CHAT}:{hashlib.sha256(versioned.encode()).hexdigest()[:16]}"


def complete(folder: Path) -> None:
    """Write the tokenizer.json that a folder lacks, so that nobody converts its tokenizer.model wrongly."""
    if (folder / SLOW).is_file() and not (folder / FAST).is_file():
        text = json.dumps(content(folder), ensure_ascii=False, indent=2)
        (folder / FAST).write_text(text + "\n", encoding="utf-8")
        if not (folder / CONFIG).is_file():
            plain = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
            (folder / CONFIG).write_text(json.dumps({**plain, **settings(folder)}, indent=2) + "\n", encoding="utf-8")


def check(folder: Path, tokenizer: "Tokenizer") -> None:
    """RequestError where a tokenizer is known to give other ids than SentencePiece would."""
    ids = _ids(tokenizer, PROBES)
    if _has_model(folder):
        processor = _processor(folder / SLOW)
        expected = [list(processor.encode(text)) for text in PROBES]
        wrong = next((text for text, a, b in zip(PROBES, ids, expected, strict=True) if a != b), None)
    else:
        known = KNOWN.get(_digest(sorted(tokenizer.get_vocab(with_added_tokens=False).items())))
        wrong = PROBES[0] if known and known != _digest(ids) else None
    if wrong is not None:
        raise RequestError(
            f"the tokenizer.json of {folder} gives {wrong[:24]!r} other ids than SentencePiece: transformers 5 makes "
            "such files from a tokenizer.model. Take the tokenizer.json that the model was published with, or remove "
            "it and keep the tokenizer.model, which is then converted here."
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()


def _has_model(folder: Path) -> bool:
    """Whether a folder's tokenizer.model says anything: beside a tokenizer.json, one of tiktoken's is left alone."""
    path = folder / SLOW
    return path.is_file() and not ((folder / FAST).is_file() and _is_tiktoken(path))


def _is_tiktoken(path: Path) -> bool:
    """Whether a file has a line for each token, its bytes in base64 and its rank, as Llama 3's tokenizer.model."""
    with path.open("rb") as file:
        lines = file.read(4096).splitlines()[:3]
    return bool(lines) and all(TIKTOKEN.fullmatch(line) for line in lines)


def _processor(path: Path) -> Any:
    from sentencepiece import SentencePieceProcessor

    if not path.is_file():  # a pipe would be waited for
        raise RequestError(f"{path} is no file. Fetch it again.")
    if _is_tiktoken(path):
        raise RequestError(
            f"{path} is a tokenizer of tiktoken (Llama 3's kind), which is not converted here: it lacks the rule by "
            f"which texts are cut. Put the {FAST} that the model was published with beside it."
        )
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise RequestError(f"{path} is no SentencePiece model ({error}). Fetch it again.") from None


def _special_tokens(path: Path) -> dict[str, str]:
    processor = _processor(path)
    ids = {"unk": processor.unk_id(), "bos": processor.bos_id(), "eos": processor.eos_id()}
    return {f"{name}_token": processor.id_to_piece(token_id) for name, token_id in ids.items() if token_id >= 0}


@lru_cache(maxsize=4)
def _converted(name: str, size: int, mtime: int) -> dict[str, Any]:  # noqa: ARG001
    """The tokenizer.json of a SentencePiece BPE model with byte fallback, as LLaMA's; size and time are the key."""
    processor = _processor(Path(name))
    pieces = [processor.id_to_piece(token_id) for token_id in range(processor.get_piece_size())]
    special = [n for n in range(len(pieces)) if processor.is_control(n) or processor.is_unknown(n)]
    kept = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    start = processor.bos_id()
    made = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": token_id, "content": pieces[token_id], **kept} for token_id in special],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": _starting_with(pieces[start], start) if start >= 0 else None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[processor.unk_id()],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {piece: token_id for token_id, piece in enumerate(pieces)},
            "merges": _merges(pieces, [processor.get_score(token_id) for token_id in range(len(pieces))]),
        },
    }
    _refuse_others(Path(name), made, processor)
    return made


def _merges(pieces: list[str], scores: list[float]) -> list[str]:
    """Every way to make a piece of two: the highest score first, those of one piece by their parts' ids."""
    ids = {piece: token_id for token_id, piece in enumerate(pieces)}
    merges: list[tuple[float, int, str]] = []
    for piece, score in zip(pieces, scores, strict=True):
        halves = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        known = sorted((ids[left], ids[right]) for left, right in halves if left in ids and right in ids)
        merges += [
            (-score, len(merges) + n, f"{pieces[left]} {pieces[right]}") for n, (left, right) in enumerate(known)
        ]
    return [merge for _, _, merge in sorted(merges)]


def _starting_with(token: str, token_id: int) -> dict[str, Any]:
    start = {"SpecialToken": {"id": token, "type_id": 0}}
    again = {"SpecialToken": {"id": token, "type_id": 1}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [start, first],
        "pair": [start, first, again, second],
        "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}},
    }


def _refuse_others(path: Path, made: Mapping[str, Any], processor: Any) -> None:
    """A model of another kind (unigram, without byte fallback, that normalises text) is not converted by guessing."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps(made))
    if _ids(tokenizer, PROBES) != [list(processor.encode(text)) for text in PROBES]:
        raise RequestError(
            f"{path} is no SentencePiece model of LLaMA's kind (BPE with byte fallback, text as it is), so it cannot "
            "be converted here. Put the tokenizer.json that it was published with beside it."
        )


def _ids(tokenizer: "Tokenizer", texts: Iterable[str]) -> list[list[int]]:
    return [list(tokenizer.encode(text, add_special_tokens=False).ids) for text in texts]
