"""Templates: the text as FastChat writes it, and the same text through a chat template."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.data.template import TEMPLATES, chat_template, generation_prompt, segments
from sft_sweeps.errors import RequestError
from sft_sweeps.models import train_tokenizer

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ROUNDS = [("hi", "hello"), ("2 + 2?", "4"), ("  spaced\n", "\n'quoted' {{ x }} \\n ")]
AWKWARD = st.text(st.characters(exclude_categories=["Cs"]))


def text(template: str, rounds: list[tuple[str, str]]) -> str:
    return "".join(given + learnt + "</s>" for given, learnt in segments(template, rounds))


def test_text_is_fastchats() -> None:
    assert text("vicuna_v1.1", ROUNDS[:2]) == (SYSTEM + " USER: hi ASSISTANT: hello</s>USER: 2 + 2? ASSISTANT: 4</s>")
    assert text("vicuna_bare", ROUNDS[:2]) == "USER: hi ASSISTANT: hello</s>USER: 2 + 2? ASSISTANT: 4</s>"


def test_the_separator_space_is_learnt() -> None:
    assert segments("vicuna_bare", ROUNDS[:2]) == [("USER: hi ASSISTANT:", " hello"), ("USER: 2 + 2? ASSISTANT:", " 4")]


@given(rounds=st.lists(st.tuples(AWKWARD, AWKWARD), min_size=1, max_size=4), template=st.sampled_from(TEMPLATES.names))
def test_generation_prompt_is_what_training_gives(rounds: list[tuple[str, str]], template: str) -> None:
    for place, (prompt, _) in enumerate(rounds):
        assert generation_prompt(template, rounds[:place], prompt) == segments(template, rounds)[place][0]


def test_unknown_template_names_the_valid_ones() -> None:
    for call in (lambda: segments("llama3", ROUNDS), lambda: chat_template("llama3")):
        with pytest.raises(RequestError, match=r"llama3 is not known.*vicuna_v1\.1, vicuna_bare"):
            call()


@pytest.mark.parametrize("template", TEMPLATES.names)
def test_chat_template_renders_the_same_text(template: str, tmp_path: Path) -> None:
    train_tokenizer.save(train_tokenizer.train([SYSTEM], 300), tmp_path)
    (tmp_path / "chat_template.jinja").write_text(chat_template(template), encoding="utf-8")
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(tmp_path)
    messages = [
        {"role": role, "content": content}
        for round_ in ROUNDS
        for role, content in zip(("user", "assistant"), round_, strict=True)
    ]
    assert loaded.apply_chat_template(messages, tokenize=False) == "<s>" + text(template, ROUNDS)
    for place, (prompt, _) in enumerate(ROUNDS):
        rendered = loaded.apply_chat_template(messages[: 2 * place + 1], tokenize=False, add_generation_prompt=True)
        before = text(template, ROUNDS[:place])
        assert rendered == "<s>" + before + generation_prompt(template, ROUNDS[:place], prompt)
    for wrong in (messages[1:], [{"role": "system", "content": "x"}, *messages], [messages[0], messages[0]]):
        with pytest.raises(Exception, match="user and assistant in turn"):
            loaded.apply_chat_template(wrong, tokenize=False)
