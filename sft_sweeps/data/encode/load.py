"""A folder's tokenizer as encoding uses it: special tokens are never parsed in a text, and nothing is added to one."""

from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from sft_sweeps.data.encode.fastchat import SpecialTokenEncoder
from sft_sweeps.data.encode.text_encoder import TextEncoder
from sft_sweeps.errors import RequestError
from sft_sweeps.models import tokenizer as vocabulary


def load_tokenizer(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """(the tokenizer of a folder, its tokenizer_config.json); RequestError where one of them cannot be read."""
    if not (folder / vocabulary.FAST).is_file() and not (folder / vocabulary.SLOW).is_file():
        raise RequestError(
            f"there is no {vocabulary.FAST} in {folder}. "
            "Give the folder of a model's tokenizer: model.tokenizer=FOLDER."
        )
    try:
        if (folder / vocabulary.FAST).is_file():
            tokenizer = Tokenizer.from_file(str(folder / vocabulary.FAST))
        else:
            tokenizer = Tokenizer.from_str(vocabulary.text(folder))
    except RequestError:
        raise
    except BaseException as error:  # `tokenizers` raises nothing more special, and a panic of Rust code is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise RequestError(f"{folder / vocabulary.FAST} cannot be loaded ({error}). Fetch it again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    # One that changes nothing: others may trim spaces from the offsets, which hides a token across the boundary.
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B", special_tokens=[])
    try:
        settings = vocabulary.settings(folder)
    except (OSError, ValueError) as error:
        named = f"{folder / vocabulary.CONFIG} cannot be read ({error}). It names bos_token and eos_token."
        raise RequestError(named) from None
    return tokenizer, settings


class SpecialTokens:
    """The tokens that a tokenizer's settings name, checked."""

    def __init__(self, tokenizer: Tokenizer, settings: dict[str, Any], folder: Path) -> None:
        self._tokenizer, self._settings, self._folder = tokenizer, settings, folder

    @cached_property
    def bos_id(self) -> int | None:
        """What stands before every text; None where there is none, as Qwen's tokenizers say it."""
        return None if self._settings.get("bos_token") is None else self._find("bos_token")

    @cached_property
    def eos_id(self) -> int:
        """What ends every response."""
        return self._find("eos_token")

    def encoder(self, text_encoder: TextEncoder) -> SpecialTokenEncoder:
        """What parses special tokens in a text, for `data.bug_compatible`."""
        added = self._tokenizer.get_added_tokens_decoder()
        special = {token.content: token_id for token_id, token in added.items() if token.special}
        unknown = _name(self._settings.get("unk_token"))
        pad_id = self._tokenizer.token_to_id(unknown) if unknown else None
        return SpecialTokenEncoder(
            text_encoder, special, self._find("bos_token"), str(_name(self._settings["eos_token"])), pad_id
        )

    def _find(self, key: str) -> int:
        where, token = self._folder / vocabulary.CONFIG, _name(self._settings.get(key))
        if not isinstance(token, str):
            raise RequestError(f"{where} has no {key}. Training needs one: add it.")
        token_id: int | None = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise RequestError(f"{key} {token!r} of {where} is not in the vocabulary.")
        if token_id in self._tokenizer.encode(token, add_special_tokens=False).ids:
            raise RequestError(
                f"{key} {token!r} of {self._folder} is found inside plain text, so a message could end itself. "
                'Mark it "special": true in tokenizer.json.'
            )
        return token_id


def _name(value: Any) -> Any:
    return value.get("content") if isinstance(value, dict) else value
