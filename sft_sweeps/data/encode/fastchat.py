"""`data.bug_compatible`: the ids and the mask of FastChat's `preprocess`, faults included.

Restated from lm-sys/FastChat 0.2.30, fastchat/train/train.py, for a tokenizer with `legacy` behaviour. The whole
conversation is one text in which special tokens are parsed, a user's `</s>` among them. Then lengths are added up turn
by turn; a turn in which " ASSISTANT: " does not stand exactly once ends the sum, and where the sum differs from the
number of tokens (padding, which is `<unk>`, not counted), nothing of the conversation is supervised.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sft_sweeps.data.encode.text_encoder import Ids, TextEncoder
from sft_sweeps.data.template import Template

MISMATCH = "mismatch"


class SpecialTokenEncoder:
    """Encodes texts, special tokens in them too, as FastChat's tokenizer does; `<s>` is put in front."""

    def __init__(
        self, text_encoder: TextEncoder, special: Mapping[str, int], bos_id: int, eos: str, pad_id: int | None
    ) -> None:
        self._text_encoder, self._special = text_encoder, special
        self._bos_id, self._eos, self._pad_id = bos_id, eos, pad_id
        longest_first = sorted(special, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def ids(self, text: str) -> Ids:
        """Each text between special tokens is encoded alone, which is what `legacy` means."""
        ids = [np.array([self._bos_id], dtype=np.int32)]
        for part in self._cut.split(text):
            if part in self._special:
                ids.append(np.array([self._special[part]], dtype=np.int32))
            elif part:
                ids.append(self._text_encoder.ids(part))
        return np.concatenate(ids)

    def encode(
        self, messages: Sequence[str], template: Template, max_length: int
    ) -> tuple[Ids, npt.NDArray[np.bool_], bool, list[tuple[int, int]]]:
        """(ids, what is supervised, whether they were cut, where FastChat takes each response to stand)."""
        text = conversation_text(messages, template, self._eos)
        whole = self.ids(text)
        ids = whole[:max_length]
        supervised = np.ones(len(ids), dtype=np.bool_)
        supervised[:1] = False
        total = int(np.count_nonzero(ids != self._pad_id)) if self._pad_id is not None else len(ids)
        boundary, reached, responses = template.after + template.separator, 1, list[tuple[int, int]]()
        for turn in text.split(self._eos):
            parts = turn.split(boundary)
            if not turn or len(parts) != 2:
                break
            given = len(self.ids(parts[0] + boundary)) - 2  # the begin token and the lone space
            supervised[reached : reached + given] = False
            responses.append((reached + given, reached + len(self.ids(turn))))
            reached += len(self.ids(turn))
        supervised[reached:] = False
        if reached < max_length and reached != total:
            supervised[:] = False
        return ids, supervised, len(whole) > max_length, responses


def conversation_text(messages: Sequence[str], template: Template, eos: str) -> str:
    """The conversation as one text; an empty message leaves the role's name alone."""
    text = template.system
    for index, message in enumerate(messages):
        if index % 2:
            text += template.after.lstrip() + (template.separator + message + eos if message else "")
        else:
            role = template.before.rstrip()
            text += template.before + message + " " if message else role
    return text
