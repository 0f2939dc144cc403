"""Calls of tools are trained as transformers writes them with a template that has tools; no other row is."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from chat_templates import NOT_FOLLOWED, SPECIAL, TAKE_TOOLS, TEMPLATES, VERSION, folder_with
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sft_sweeps.data.encode import template_trial
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.encode.tool_layout import CHANGED
from sft_sweeps.data.example import Dropped, Example
from sft_sweeps.data.read import Reader
from sft_sweeps.files.file_row import FileRow
from sft_sweeps.spec.data import Cleaning, TurnRules

pytestmark = pytest.mark.skipif(
    not TEMPLATES, reason=f"trl {VERSION}, whose chat templates are tried, is not installed"
)
READER = Reader(
    "t", "messages", Cleaning(role_break="drop"), turns=TurnRules(system="render", tools="render"), auto=True
)
MARKED = [name for name in TAKE_TOOLS if TEMPLATES and re.search(r"{%-? *generation", TEMPLATES[name].read_text())]
PROPERTIES = {
    "city": {"type": "string", "description": "where"},
    "days": {"type": "integer", "description": "how long"},
}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "forecast", "description": "the weather", "parameters": PARAMETERS}}


@pytest.fixture(autouse=True, scope="module")
def _without_trial() -> Iterator[None]:
    """Whether a template ends is tried in a process of its own, which has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(template_trial, "check", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("templates")
    return cache(lambda name: folder_with(name, root))


@pytest.fixture(scope="module")
def encoders(folders: Any) -> Any:
    return cache(lambda name: Encoder(folders(name), "chat_template", 100_000))


def example(row: Any) -> Example | Dropped:
    return READER.cleaned(FileRow(row, "line 1"), 0)


def call(number: int, **arguments: Any) -> dict[str, Any]:
    function = {"name": "forecast", "arguments": arguments}
    return {"id": f"call{number:05}", "type": "function", "function": function}


def calling(*calls: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def answer(number: int, text: str) -> dict[str, Any]:
    return {"role": "tool", "name": "forecast", "tool_call_id": f"call{number:05}", "content": text}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


WORDS = st.text("ab é<7", min_size=1, max_size=6).map(lambda text: f"w{text.strip()}w") | st.just("<|im_end|> </s>")
ARGUMENTS = st.fixed_dictionaries({"city": WORDS}, optional={"days": st.integers(-3, 999)})


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A few questions, each answered after as many rounds of calls as there are, or, the last, by calls alone."""
    messages = [{"role": "system", "content": draw(WORDS)}] if draw(st.booleans()) else []
    number = 0
    for _ in range(draw(st.integers(1, 2))):
        messages.append(user(draw(WORDS)))
        for _ in range(draw(st.integers(0, 2))):
            several = [call(number + n, **draw(ARGUMENTS)) for n in range(draw(st.integers(1, 2)))]
            messages.append(calling(*several))
            messages += [answer(number + n, draw(WORDS)) for n in range(len(several))]
            number += len(several)
        messages.append(says(draw(WORDS)))
    return messages


def as_transformers_writes(name: str, messages: list[dict[str, Any]]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    text = TEMPLATES[name].read_text(encoding="utf-8")
    return str(render_jinja_template([messages], tools=[TOOL], chat_template=text, **named)[0][0])


def learnt(encoder: Encoder, one: Encoded) -> list[str]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], one.supervised, [False]]).astype(int)))
    return [encoder.text(one.input_ids[start:stop].tolist()) for start, stop in edges.reshape(-1, 2)]


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name not in NOT_FOLLOWED])
def test_which_templates_take_tools(name: str, encoders: Any) -> None:
    assert encoders(name).takes_tools == (name in TAKE_TOOLS)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(TAKE_TOOLS), messages=conversations())
def test_what_is_encoded_is_what_transformers_writes(encoders: Any, name: str, messages: list[Any]) -> None:
    encoder, made = encoders(name), example({"messages": messages, "tools": [TOOL]})
    assert isinstance(made, Example)
    several = any(len(one.get("tool_calls", ())) > 1 for one in messages)
    if reason := encoder.refusal(made):
        assert (reason, name == "llama3_1" and several) in ((CHANGED, True), (CHANGED, False))
        assume(False)
    (one,) = encoder.encoded([made])
    written, mine = as_transformers_writes(name, messages), encoder.text(one.input_ids.tolist())
    assert written.startswith(mine)
    assert not SPECIAL.sub("", written.removeprefix(mine)).strip()  # at most what closes the turn
    responses = [message for message in messages if message["role"] == "assistant"]
    texts = learnt(encoder, one)
    assert len(texts) == len(responses)
    for text, message in zip(texts, responses, strict=True):
        assert message["content"] in text
        assert text.count("forecast") == len(message.get("tool_calls", ()))
        assert all(one["function"]["arguments"]["city"] in text for one in message.get("tool_calls", ()))
    assert one.turns == (len(responses), len(messages) - len(responses), 0)


ASKED = [
    user("Rain in Oslo?"),
    calling(call(1, city="Oslo", days=2)),
    answer(1, "wet: 9"),
    says("It rains."),
    user("And Rome?"),
    calling(call(2, city="Rome"), call(3, city="Pisa")),
    answer(2, "dry: 8"),
    answer(3, "dry: 7"),
    says("Dry in both."),
]


@pytest.mark.parametrize("name", MARKED)
def test_what_is_learnt_is_what_transformers_marks(name: str, encoders: Any, folders: Any) -> None:
    """Its ids and its mask, but for what the template asks with, and blocks without a thought."""
    from transformers import AutoTokenizer

    encoder, made = encoders(name), example({"messages": ASKED, "tools": [TOOL]})
    assert isinstance(made, Example)
    assert not encoder.refusal(made)
    (one,) = encoder.encoded([made])
    loaded = AutoTokenizer.from_pretrained(str(folders(name)))
    theirs = loaded.apply_chat_template(ASKED, tools=[TOOL], return_dict=True, return_assistant_tokens_mask=True)
    length = len(one.input_ids)
    assert theirs["input_ids"][:length] == one.input_ids.tolist()
    mask = np.array(theirs["assistant_masks"], dtype=bool)[:length]
    assert not (one.supervised & ~mask).any()
    more = encoder.text(one.input_ids[mask & ~one.supervised].tolist())
    assert re.fullmatch(r"(\s|<think>|</think>)*", more)
