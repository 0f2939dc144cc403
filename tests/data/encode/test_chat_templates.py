"""The 72 chat templates that TRL 1.16.0 ships, each followed as transformers writes it, or refused with a reason."""

import re
from typing import Any

import numpy as np
import pytest
from chat_templates import (
    LOSE_EARLIER_THOUGHTS,
    LOSE_THOUGHTS,
    NOT_FOLLOWED,
    SPECIAL,
    TEMPLATES,
    VERSION,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.encode.tool_layout import CHANGED
from sft_sweeps.data.example import Example
from sft_sweeps.errors import RequestError

ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "</s>", "<|end|>")
ROLES = ("user", "assistant")
Rounds = tuple[tuple[str, str], ...]


FOLLOWED = [name for name in TEMPLATES if name not in NOT_FOLLOWED]
pytestmark = [
    pytest.mark.skipif(not TEMPLATES, reason=f"trl {VERSION}, whose chat templates are tried, is not installed"),
    pytest.mark.usefixtures("without_trial"),
]


def encoded(encoder: Encoder, rounds: Rounds, system: str = "") -> Encoded:
    return next(iter(encoder.encoded([Example("t/0", rounds, system=system)])))


def learnt(encoder: Encoder, one: Encoded) -> list[str]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], one.supervised, [False]]).astype(int)))
    return [encoder.text(one.input_ids[start:stop].tolist()) for start, stop in edges.reshape(-1, 2)]


def content(name: str, text: str) -> Any:
    in_parts = name.startswith(("idefics3", "llava_next", "smolvlm"))
    return [{"type": "text", "text": text}] if in_parts else text


def as_transformers_writes(name: str, rounds: Rounds, system: str = "", *, ask: bool = False) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    said = [text for both in rounds for text in both]
    messages = [{"role": "system", "content": content(name, system)}] if system else []
    messages += [{"role": ROLES[n % 2], "content": content(name, text)} for n, text in enumerate(said)]
    messages = messages[:-1] if ask else messages
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    text = TEMPLATES[name].read_text(encoding="utf-8")
    written, _ = render_jinja_template([messages], chat_template=text, add_generation_prompt=ask, **named)
    return str(written[0])


def test_the_table() -> None:
    assert len(TEMPLATES) == 72
    assert len(FOLLOWED) == 66


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_refused(name: str, folders: Any) -> None:
    with pytest.raises(RequestError, match=f"{name} .*{NOT_FOLLOWED[name]}"):
        Encoder(folders(name), "chat_template", 999)


TEXT = st.text("ab <7\n.", min_size=1, max_size=9).filter(str.strip) | st.sampled_from(
    ["</s> x", "é😀", "<think>", "</a>"]
)
CONVERSATIONS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3).map(tuple)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(FOLLOWED or [""]), rounds=CONVERSATIONS, system=st.sampled_from(["", "", " Be terse. "]))
def test_what_is_encoded_is_what_transformers_writes(encoders: Any, name: str, rounds: Rounds, system: str) -> None:
    encoder = encoders(name)
    assume(not system or encoder.takes_system)
    reason = encoder.refusal(Example("t/0", rounds, system=system))
    thinks = any("<think>" in text or "</" in text for both in rounds for text in both)
    assert reason in (("", CHANGED) if thinks else ("",))
    assume(not reason)
    one = encoded(encoder, rounds, system)
    written = as_transformers_writes(name, rounds, system)
    mine = encoder.text(one.input_ids.tolist())
    assert written.startswith(mine)
    assert not SPECIAL.sub("", written.removeprefix(mine)).strip()  # at most what closes the turn
    texts = learnt(encoder, one)
    assert len(texts) == len(rounds)
    assert all(both[1].strip() in text for both, text in zip(rounds, texts, strict=True))
    if len(rounds) == 1 and not system and not thinks:
        assert encoder.prompt_ids([], rounds[0][0]) == one.input_ids[: int(one.supervised.argmax())].tolist()


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_is_given_is_what_the_template_asks_with(name: str, encoders: Any) -> None:
    """But for templates that ask for thoughts, and then write none where there are none."""
    encoder, rounds = encoders(name), (("Hi there", "I am 3."), ("And 4?", "7 it is"))
    asked = as_transformers_writes(name, rounds, ask=True)
    given = encoder.text(encoder.prompt_ids(rounds[:1], "And 4?"))
    if given != asked:
        shared = next(n for n in range(len(asked) + 1) if not given.startswith(asked[: n + 1]) or n == len(asked))
        assert re.fullmatch(r"\n?(<think>)?\s*(</think>\s*)?", asked[shared:])
        assert re.fullmatch(r"\s*(<think>)?\s*(</think>\s*)?", given[shared:])
    texts = learnt(encoder, encoded(encoder, rounds))
    assert [text.strip().partition("<")[0].strip() for text in texts] == ["I am 3.", "7 it is"]
    assert (
        encoder.decode(encoded(encoder, rounds).input_ids[len(encoder.prompt_ids(rounds[:1], "And 4?")) :].tolist())
        == "7 it is"
    )


@pytest.mark.parametrize(
    "name", [name for name in FOLLOWED if re.search(r"{%-? *generation", TEMPLATES[name].read_text())]
)
def test_marked_responses_are_what_is_learnt(name: str, encoders: Any, folders: Any) -> None:
    """As transformers' own mask has it, but for what the template asks with, and blocks without a thought."""
    from transformers import AutoTokenizer

    encoder, rounds = encoders(name), (("Hi there", "I am 3."), ("And 4?", "7 it is"))
    loaded = AutoTokenizer.from_pretrained(str(folders(name)))
    messages = [{"role": ROLES[n % 2], "content": content(name, text)} for n, text in enumerate(sum(rounds, ()))]
    theirs = loaded.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    mask = np.array(theirs["assistant_masks"], dtype=bool)
    one = encoded(encoder, rounds)
    ids = list(theirs["input_ids"])
    if name.startswith(("idefics3", "smolvlm")):  # a token joins ":" and " ": prompt and response are encoded apart
        assert encoder.text(ids) == encoder.text(one.input_ids.tolist())
        return
    assert ids[: len(one.input_ids)] == one.input_ids.tolist()
    mask = mask[: len(one.input_ids)]
    assert not (one.supervised & ~mask).any()
    more = encoder.text(one.input_ids[mask & ~one.supervised].tolist())
    assert re.fullmatch(r"(<｜Assistant｜>|\s|<think>|</think>)*", more)


THOUGHT = "<think>\nadd 1\n</think>\n\n"
THINKING = (("1+1?", f"{THOUGHT}2."), ("Minus one?", f"{THOUGHT}1."))


@pytest.mark.parametrize("name", FOLLOWED)
def test_thoughts_are_learnt_as_they_are_or_the_row_is_refused(name: str, encoders: Any) -> None:
    encoder = encoders(name)
    for rounds in (THINKING[:1], THINKING):
        lost = name in LOSE_THOUGHTS or (len(rounds) > 1 and name in LOSE_EARLIER_THOUGHTS)
        assert encoder.refusal(Example("t/0", rounds)) == (CHANGED if lost else "")
        if not lost:
            texts = learnt(encoder, encoded(encoder, rounds))
            assert [text.count("<think>") for text in texts] == [1] * len(rounds)
            assert all(both[1] in text for both, text in zip(rounds, texts, strict=True))


@pytest.mark.parametrize("name", FOLLOWED)
def test_no_thought_is_learnt_that_is_not_there(name: str, encoders: Any) -> None:
    encoder = encoders(name)
    texts = learnt(encoder, encoded(encoder, (("Hi", "I am 3."), ("And 4?", "7 it is"))))
    assert not any("think" in text for text in texts)


@pytest.mark.parametrize("name", FOLLOWED)
def test_special_tokens_in_a_message_are_text(name: str, encoders: Any) -> None:
    """However many a user types, none of their ids is there."""
    encoder = encoders(name)
    typed = "".join(ENDS)
    plain, attacked = (encoded(encoder, ((text, text),)).input_ids.tolist() for text in ("x", f"x{typed}x"))
    special = [token for token in plain if token >= 400]
    assert [token for token in attacked if token >= 400] == special
    assert typed in encoder.text(attacked)
