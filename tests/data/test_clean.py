"""The rules for conversations: FastChat's own answers (golden_cleaning.json), and what is sound about the default."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.data import clean
from sft_sweeps.data.example import DropError, Example
from sft_sweeps.data.read import read
from sft_sweeps.data.tags import drop_reason
from sft_sweeps.errors import RequestError
from sft_sweeps.spec.data import Cleaning, Source

GOLDEN = json.loads((Path(__file__).parent / "golden_cleaning.json").read_text())
CODES = {"too_short": 1, "role_break": 2, "blocked_word": 3, "bad_html": 4}
FASTCHAT = Cleaning(html_to_markdown=True, min_characters=16, drop_words=("openai", "chatgpt"), drop_plugins=True)


def outcome(turns: list[Any], cleaning: Cleaning | None, faithful: bool) -> Any:
    try:
        return clean.conversation([tuple(turn) for turn in turns], cleaning, faithful).messages
    except DropError as error:
        return str(error)


@pytest.mark.parametrize("row", GOLDEN["clean"], ids=lambda row: f"code{row['code']}-{len(row['turns'])}")
def test_bug_compatible_cleaning_is_fastchats(row: dict[str, Any]) -> None:
    pytest.importorskip("markdownify", reason="NOT RUN: the extra `cleaning` is not installed")
    found = outcome(row["turns"], FASTCHAT, True)
    assert (CODES[found], None) == (row["code"], None) if isinstance(found, str) else found == row["texts"]


def of_words(counts: list[int]) -> Example:
    texts = [" ".join(["w"] * count) for count in counts]
    return Example("c/0", tuple(zip(texts[::2], texts[1::2], strict=True)))


def length(text: str) -> int:
    return 1 + len(text.split())


@pytest.mark.parametrize("row", GOLDEN["split_at_100"], ids=lambda row: str(row["words"]))
def test_bug_compatible_splitting_loses_what_fastchat_loses(row: dict[str, Any]) -> None:
    parts = list(clean.split(of_words(row["words"]), Cleaning(split_tokens=100), True, length))
    assert [[int(part.id.rpartition("_")[2]), len(part.messages)] for part in parts] == row["parts"]


@given(
    counts=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=9),
    limit=st.integers(20, 150),
)
def test_sound_splitting_keeps_every_round_and_the_limit(counts: list[tuple[int, int]], limit: int) -> None:
    example = of_words([count for both in counts for count in both])
    parts = list(clean.split(example, Cleaning(split_tokens=limit), False, length))
    assert tuple(round_ for part in parts for round_ in part.rounds) == example.rounds
    assert {part.group for part in parts} == {example.group}
    costs = [sum(length(text) + 6 for text in part.messages) for part in parts]
    assert all(cost <= limit for cost, part in zip(costs, parts, strict=True) if len(part.rounds) > 1)
    firsts = [sum(length(text) + 6 for text in part.rounds[0]) for part in parts]
    assert all(before + first > limit for before, first in zip(costs, firsts[1:], strict=False))  # no part too small
    assert len({part.id for part in parts}) == len(parts)
    if len(parts) == 1:
        assert parts == [example]
    starts = [int(part.id.rpartition("_")[2]) for part in parts] if len(parts) > 1 else [0]
    assert [stop - start for start, stop in pairwise(starts)] == [2 * len(part.rounds) for part in parts[:-1]]


def turns(*texts: str) -> list[tuple[str, str]]:
    return [(("human", "gpt")[place % 2], text) for place, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("cleaning", "given_turns", "expected"),
    [
        (Cleaning(role_break="drop"), [*turns("a", "b"), ("gpt", "c")], "role_break"),
        (Cleaning(role_break="drop"), [("gpt", "x"), ("system", "s"), *turns("a", "b", "c")], ["a", "b"]),
        (Cleaning(min_characters=5), turns("ab", "cd"), "too_short"),
        (Cleaning(min_characters=5), turns("ab", "cde"), ["ab", "cde"]),
        (Cleaning(drop_words=("OpenAI",)), turns("by openai?", "yes"), "blocked_word"),
        (Cleaning(drop_repeated_digits=True), turns("1111111112", "x"), "repeated_digits"),
        (Cleaning(drop_repeated_digits=True), turns("11111111", "x"), ["11111111", "x"]),
    ],
)
def test_rule(cleaning: Cleaning, given_turns: list[tuple[str, str]], expected: Any) -> None:
    assert outcome(given_turns, cleaning, False) == expected
    if expected != ["a", "b"]:
        assert outcome(given_turns, None, False) != expected or isinstance(expected, list)


@pytest.mark.parametrize(
    ("given_turns", "expected"),
    [
        ([("gpt", "x"), *turns("a", "b")], ["a", "b"]),
        ([("gpt", "x"), ("gpt", "y"), *turns("a", "b")], "role_break"),
        (turns("a", "b", "c"), ["a", "b", "c"]),
        (turns("a", "", "c", "d"), ["a", "", "c", "d"]),
        ([("gpt", "x")], []),
        ([("user", "a"), ("assistant", "b")], "unknown_role"),
        ([], "no_turn"),
    ],
)
def test_bug_compatible_rows_are_taken_as_the_trainer_takes_them(
    given_turns: list[tuple[str, str]], expected: Any
) -> None:
    assert outcome(given_turns, None, True) == expected


def test_languages() -> None:
    pytest.importorskip("py3langid", reason="NOT RUN: the extra `cleaning` is not installed")
    english = turns("How do I boil an egg without breaking it?", "Put it into cold water and heat it slowly.")
    german = turns("Wie koche ich ein Ei, ohne dass es platzt?", "Lege es in kaltes Wasser und erhitze es langsam.")
    for cleaning, kept in ((Cleaning(keep_languages=("en",)), english), (Cleaning(drop_languages=("en",)), german)):
        other = german if kept is english else english
        assert outcome(kept, cleaning, False) == [text for _, text in kept]
        assert outcome(other, cleaning, False) == "language"


def file(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(row_id: str, *texts: str, **more: Any) -> dict[str, Any]:
    return {"id": row_id, "conversations": [{"from": role, "value": text} for role, text in turns(*texts)], **more}


def table(path: Path, cleaning: Cleaning) -> tuple[list[str], dict[str, int]]:
    source = Source("s", "", "auto", "general", "general", 0, cleaning=cleaning)
    found = read(path, "s", max_bad_fraction=1, source=source)
    return [example.row_id for example in found.examples], dict(found.dropped)


def test_duplicates_plugins_and_wrong_lists_are_counted(tmp_path: Path) -> None:
    rows = [
        row("a", "q", "r"),
        row("a", "q2", "r"),
        row("b", "q", "r", "more", "x"),
        row("", "z", "r"),
        row("", "y", "r"),
    ]
    rows += [
        row("p", "plug", "in", plugins=[1]),
        row("l", "list", "\n1. x\n\n1. y"),
        row("ok", "list", "\n1. x\n2. y\n1. z"),
    ]
    path = file(tmp_path / "a.jsonl", rows)
    rules = Cleaning(drop_duplicates=True, drop_plugins=True, drop_wrong_lists=True)
    kept, dropped = table(path, rules)
    assert kept == ["a", "", "", "ok"]
    assert dropped == {"duplicate_conversation": 1, "duplicate_id": 1, "plugin": 1, "wrong_list": 1}
    assert table(path, Cleaning(min_characters=1))[1] == {}


TAGGED = [row("c_0", "write it", "x"), row("m", "add", "4"), row("w", "weather?", "rain"), row("n", "hi", "ho")]
TAGS = [
    {"id": "c", "tags": [{"tag": "code generation", "explanation": "..."}]},  # by its base conversation
    {"id": "m", "tags": 'Sure: [{"tag": "Mathematics", "explanation": "..."}] '},
    {"id": "w", "tags": ["weather", "coding"]},  # "coding" does not match "code": so the paper's pattern has it
]


def test_tags_of_a_file(tmp_path: Path) -> None:
    path = file(tmp_path / "a.jsonl", TAGGED)
    tags = file(tmp_path / "tags.jsonl", TAGS)
    rules = Cleaning(drop_tags=("code", "math"), tags="sha256:x", tags_path=str(tags))
    assert table(path, rules) == (["w", "n"], {"tag_code": 1, "tag_math": 1})
    assert not rules.fallback
    (tmp_path / "tags.json").write_text("[[1]]")
    wrong = Cleaning(drop_tags=("code",), tags="sha256:y", tags_path=str(tmp_path / "tags.json"))
    with pytest.raises(RequestError, match=r"tags\.json: row 0 is no"):
        drop_reason(wrong)


def test_words_and_fences_stand_in_for_tags(tmp_path: Path) -> None:
    rows = [
        row("f", "so?", "```\nx\n```"),
        row("p", "a Python program", "x"),
        row("m", "solve for x", "x"),
        *TAGGED[2:],
    ]
    rules = Cleaning(drop_tags=("code", "math"))
    assert rules.fallback
    dropped = {"code_fence": 1, "word_code": 1, "word_math": 1}
    assert table(file(tmp_path / "a.jsonl", rows), rules) == (["w", "n"], dropped)
    with pytest.raises(RequestError, match=r"clean\.drop_tags=law needs clean\.tags_file=FILE"):
        drop_reason(Cleaning(drop_tags=("law",)))
