"""Calls of tools are trained as transformers writes them with a template that has tools; no other row is."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_templates import SPECIAL, TEMPLATES, VERSION
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sft_sweeps.data.encode import blocks
from sft_sweeps.data.encode.encoder import Encoded, Encoder
from sft_sweeps.data.encode.tool_layout import CHANGED
from sft_sweeps.data.example import Dropped, Example
from sft_sweeps.data.row_reader import Reader
from sft_sweeps.files.file_row import FileRow
from sft_sweeps.spec.data import Cleaning, TurnRules

pytestmark = [
    pytest.mark.skipif(not TEMPLATES, reason=f"trl {VERSION}, whose chat templates are tried, is not installed"),
    pytest.mark.usefixtures("without_trial"),
]
READER = Reader(
    "t", "messages", Cleaning(role_break="drop"), turns=TurnRules(system="render", tools="render"), auto=True
)
# One of each kind that writes calls in a way of its own (docs/models.md has all); the second with {% generation %}.
KINDS = ("qwen2_5", "qwen3", "qwen3_5_think", "qwen3_8", "gemma4_v2", "gemma4_v5", "llama3_1", "nemotron_3_nano")
MARKED = ("qwen2_5_training", "qwen3_5_think_training", "qwen3_vl_training", "lfm2_v2_training", "lfm2_2_5")
MARKED += ("nemotron_3_super_training", "glm4moe_training", "diffusion_gemma_training")
PROPERTIES = {
    "city": {"type": "string", "description": "where"},
    "days": {"type": "integer", "description": "how long"},
}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "forecast", "description": "the weather", "parameters": PARAMETERS}}


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


def is_ambiguous(name: str, messages: list[dict[str, Any]]) -> bool:
    """Llama 3.1 takes one call at a time; Qwen 3.5 asks for thoughts that it leaves out once another question comes."""
    calls = [place for place, one in enumerate(messages) if "tool_calls" in one]
    last = max(place for place, one in enumerate(messages) if one["role"] == "user")
    if name == "qwen3_5_think":
        return any(place < last for place in calls)
    return name == "llama3_1" and any(len(messages[place]["tool_calls"]) > 1 for place in calls)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(KINDS + MARKED), messages=conversations())
def test_what_is_encoded_is_what_transformers_writes(encoders: Any, name: str, messages: list[Any]) -> None:
    encoder, made = encoders(name), example({"messages": messages, "tools": [TOOL]})
    assert isinstance(made, Example)
    reason = encoder.refusal(made)
    assert reason == (CHANGED if is_ambiguous(name, messages) else "")
    assume(not reason)
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


TURNS = [user("Rain?"), calling(call(1, city="Oslo")), answer(1, "wet"), says("Yes."), says("")]
LOOSE = st.lists(st.sampled_from(TURNS), max_size=6)


@settings(max_examples=40, deadline=None)
@given(
    messages=st.lists(LOOSE | conversations(), max_size=3),
    length=st.integers(150, 500),
)
def test_no_turn_vanishes(encoders: Any, messages: list[list[Any]], length: int) -> None:
    encoder = encoders("qwen2_5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "Encoder", lambda *_, **__: encoder)
        patch.setattr(encoder, "max_length", length)
        worker = blocks.Worker("", "chat_template", length, READER)
        found = worker.block((0, [FileRow({"messages": turns, "tools": [TOOL]}, "line") for turns in messages]))
    dropped = [part.turns for row in found.counts for part in row.dropped]
    left_out = [turns for row in found.counts for _, turns in row.left_out]
    assert int(found.fates.sum()) + sum(dropped) + sum(left_out) == sum(map(len, messages))


@pytest.mark.parametrize("name", ["lfm2", "cohere", "deepseekv3_training", "phi3"])
def test_what_a_template_has_no_place_for_is_never_trained(name: str, encoders: Any) -> None:
    encoder = encoders(name)
    reader = READER.for_template(encoder.takes_system, encoder.takes_tools)
    for turns, reason in ((ASKED, "tool_calls"), ([user("Hi"), says("Hello")], "tool_calls"), (CALLED, "tool_turn")):
        row = {"messages": turns} if turns is CALLED else {"messages": turns, "tools": [TOOL]}
        found = reader.cleaned(FileRow(row, "line 1"), 0)
        assert isinstance(found, Dropped)
        assert found.reason == reason
    made = example({"messages": ASKED, "tools": [TOOL]})
    assert isinstance(made, Example)
    with pytest.raises(ValueError, match="no place for tools"):
        list(encoder.encoded([made]))


CALLED = [user("Rain?"), {"role": "function_call", "content": '{"name": "forecast", "arguments": {}}'}, says("Yes.")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("message.content", "tools_left_out_by_template"),  # a call of a template that writes texts alone
        ("(message.content or message.tool_calls[0].function.name)", "tools_left_out_by_template"),  # no arguments
        ("(message.content or 'I call ' + (message.tool_calls | tojson))", ""),
    ],
)
def test_a_template_that_leaves_something_out_of_a_call(change: str, reason: str, tmp_path: Path, folders: Any) -> None:
    """Each row is looked at, whatever the template did when it was tried."""
    text = (
        "{% for one in tools or [] %}{{ one | tojson }}{% endfor %}{% for message in messages %}"
        "{{ '<|im_start|>' + message.role + '\n' + WRITTEN + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    trusting = "(message.content or (message.tool_calls | tojson if 'a b' in message.tool_calls | string else WRITTEN))"
    for source in folders("qwen2_5").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    written = trusting.replace("WRITTEN", change)
    (tmp_path / "chat_template.jinja").write_text(text.replace("WRITTEN", written), encoding="utf-8")
    encoder = Encoder(tmp_path, "chat_template", 999)
    made = example({"messages": ASKED[:4], "tools": [TOOL]})
    assert isinstance(made, Example)
    assert encoder.takes_tools
    assert encoder.refusal(made) == reason


def test_a_special_token_that_the_template_looks_for_is_no_text(tmp_path: Path, folders: Any) -> None:
    """Qwen's template cuts a text at </think>; a tokenizer may have that as a special token."""
    for source in folders("qwen3_5_think").iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    loaded = json.loads((tmp_path / "tokenizer.json").read_text())
    number = max(token["id"] for token in loaded["added_tokens"]) + 1
    loaded["added_tokens"].append({**loaded["added_tokens"][-1], "id": number, "content": "</think>", "special": True})
    (tmp_path / "tokenizer.json").write_text(json.dumps(loaded))
    encoder = Encoder(tmp_path, "chat_template", 9999)
    for text, reason in (("Wet.", ""), ("<|im_end|>", ""), ("<think>hm</think>Wet.", CHANGED)):
        made = example({"messages": [*ASKED[:3], says(text)], "tools": [TOOL]})
        assert isinstance(made, Example)
        assert encoder.refusal(made) == reason
