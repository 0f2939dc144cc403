"""Tags by a model: through the real engine with a tiny model, and what is made of a good tagger's answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny

from sft_sweeps.commands import main
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.read import read
from sft_sweeps.data.tags import drop_reason, read_tags
from sft_sweeps.errors import Interrupted
from sft_sweeps.files.content import content_pin
from sft_sweeps.generate import tagger
from sft_sweeps.generate.engine import GREEDY, Prompts
from sft_sweeps.models.pins import weights_pin
from sft_sweeps.spec.data import Cleaning
from sft_sweeps.store.answers import Answer

CHATS = {
    "a_0": ["Sort a list in Python", "And in C?"],
    "b_0": ["What is 3 plus 4?"],
    "c_0": ["Tell me a joke"],
    "c_1": ["Another one"],
}
SAID = {
    "Sort a list in Python": 'Sure: [{"tag": "code generation", "explanation": "no math here"}]',
    "And in C?": '[{"tag": "Follow-up"}, {"tag": "code generation"}]',
    "What is 3 plus 4?": '[{"tag": "mathematics", "explanation": "cut off',
    "Tell me a joke": '[{"tag": "humour\\" \\\\d", "explanation": "about code"}]',
    "Another one": "I cannot.",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tiny.write(tmp_path_factory.mktemp("tagger") / "model")
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1024}))
    return made


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    rows = [
        {
            "id": row_id,
            "conversations": [turn for prompt in prompts for turn in (said("human", prompt), said("gpt", "ok"))],
        }
        for row_id, prompts in CHATS.items()
    ]
    rows.append({"conversations": [said("human", "no id"), said("gpt", "ok")]})
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "chats.jsonl"


def said(role: str, text: str) -> dict[str, str]:
    return {"from": role, "value": text}


class Good:
    """Answers as InsTagger does, what it is asked as InsTagger is; ends after so many answers."""

    asked: list[str]
    ends_after = 1_000

    def __init__(self, folder: Path) -> None:
        self.encoder = Encoder(folder, "vicuna_v1.1", 1 << 30)
        self.asked = []

    def generate(self, prompts: Prompts, _batch_size: int, *, keep: Callable[[int, Answer], None]) -> list[Answer]:
        assert set(prompts.sampling) == {GREEDY}
        for index, ids in enumerate(prompts.ids):
            if len(self.asked) == self.ends_after:
                raise Interrupted("killed")
            text = self.encoder.text(ids)
            query = text.partition("Query: ")[2].removesuffix("\nAssistant:")
            assert text.endswith(tagger.PROMPT.replace("{query}", query))
            self.asked.append(query)
            keep(index, Answer(self.encoder.opening_ids(SAID[query]), True))
        return []

    def close(self) -> None:
        """Nothing was started."""


@pytest.fixture
def good(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Good:
    made = Good(folder)
    monkeypatch.setattr(tagger, "engine_of", lambda *_: made)
    return made


def command(chats: Path, folder: Path, *more: str) -> list[str]:
    return ["tag", str(chats), "--model", str(folder), "--out", str(chats.with_name("tags.jsonl")), *more]


def test_tags_of_every_turn_and_what_they_drop(
    chats: Path, folder: Path, good: Good, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(command(chats, folder)) == 0
    assert good.asked == [prompt for prompts in CHATS.values() for prompt in prompts]
    assert read_tags(chats.with_name("tags.jsonl")) == {
        "a_0": ("code generation", "Follow-up"),
        "b_0": ("mathematics",),
        "c_0": ('humour" \\d',),  # an explanation is no tag
        "c_1": (),
    }
    out = capsys.readouterr().out
    assert "1 of the 5 rows have no id" in out
    assert "4 conversations, 5 answers, 1 of them without a tag" in out
    assert "tags drop, of 4 conversations: code 1, math 1, either 2" in out
    assert "words and code fences, which stand in without tags, drop 1" in out
    made = json.loads(chats.with_name("tags.jsonl.made.json").read_text())
    assert (made["file"], made["weights"]) == (content_pin(chats)[0], weights_pin(folder))
    rules = Cleaning(drop_tags=("code", "math"), tags="sha256:x", tags_path=str(chats.with_name("tags.jsonl")))
    reasons = [drop_reason(rules)(example) for example in read(chats, "c", max_bad_fraction=1.0).examples]
    assert reasons == ["tag_code", "tag_math", "", "", ""]


def test_what_was_answered_is_not_asked_again(
    chats: Path, folder: Path, good: Good, capsys: pytest.CaptureFixture[str]
) -> None:
    good.ends_after = 3
    assert main.main(command(chats, folder)) == Interrupted.exit_status
    assert not chats.with_name("tags.jsonl").exists()
    first, good.asked, good.ends_after = good.asked, [], 1_000
    assert main.main(command(chats, folder)) == 0
    assert len(first) == 3
    assert [*first, *good.asked] == [prompt for prompts in CHATS.values() for prompt in prompts]
    assert "5 answers" in capsys.readouterr().out
    assert sorted(path.name for path in chats.parent.iterdir()) == ["chats.jsonl", "tags.jsonl", "tags.jsonl.made.json"]
    assert main.main(command(chats, folder)) == 2  # nothing is written over


def test_another_model_or_length_does_not_go_on_with_the_answers(chats: Path, folder: Path, good: Good) -> None:
    good.ends_after = 3
    assert main.main(command(chats, folder)) == Interrupted.exit_status
    good.asked, good.ends_after = [], 1_000
    assert main.main(command(chats, folder, "--max-new-tokens", "100")) == 0
    assert len(good.asked) == 5


def test_a_real_engine_is_asked(chats: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of random weights tags nothing, and that is told."""
    assert main.main(command(chats, folder, "--dtype", "fp32", "--max-new-tokens", "12", "--batch-size", "3")) == 0
    assert "4 conversations, 5 answers, 5 of them without a tag" in capsys.readouterr().out
    assert set(read_tags(chats.with_name("tags.jsonl")).values()) == {()}


def test_a_query_that_is_too_long_is_cut(folder: Path, tmp_path: Path) -> None:
    from sft_sweeps.spec.evaluation import Engine

    asking = tagger.Asking(Engine("hf", "5", "fp32"), max_new_tokens=100)
    journal = tagger.Journal(tmp_path / "journal")
    asker = tagger._Asker(folder, asking, 400, journal, print)
    short, long = asker.prompt("two words"), asker.prompt("word " * 5000)
    assert asker.cut == 1
    assert len(short) < 300 < len(long) <= 400
    assert asker.encoder.text(long).endswith("\nAssistant:")
    journal.close()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--model", "absent"), "name the model"),
        (("--max-new-tokens", "1020"), "leave no room for a query"),
    ],
)
def test_what_cannot_be_done_is_said(
    chats: Path, folder: Path, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(command(chats, folder, *more)) == 2
    assert words in capsys.readouterr().err


def test_a_file_without_ids_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "a", "answer": "b"}\n')
    assert main.main(command(tmp_path / "a.jsonl", folder)) == 2
    assert "no conversation with an id" in capsys.readouterr().err
