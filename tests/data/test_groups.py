"""What belongs together is sampled together, and nothing else is: an id may be spelled in any way."""

import json
import math
import re
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sft_sweeps.config.resolve_sources import source as resolve_source
from sft_sweeps.config.source_schema import CleanConfig, SourceConfig
from sft_sweeps.data import groups
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import read
from sft_sweeps.data.select import order, order_of, subset
from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.identity import canonical
from sft_sweeps.spec.data import Component, Source

# How the n-th row of a set may be called.
SCHEMES: list[Callable[[str, int], Any]] = [
    lambda name, n: f"{name}_{n}",
    lambda name, n: f"{name}_{2 * n}",
    lambda name, n: f"{name}-{n}",
    lambda name, n: f"{name}_{n // 3}_{n % 3}",
    lambda name, n: f"{name}_{n % 7}",
    lambda name, _: name,
    lambda name, n: str(uuid.uuid5(uuid.NAMESPACE_OID, f"{name}{n}")),
    lambda _, n: str(n),
    lambda _, n: n,
    lambda *_: None,
]
NAMES = ("flan_v2", "math", "gsm8k_17", "alpaca7", "code_alpaca_20k")
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(texts)]


def written(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source_of(path: Path, **settings: Any) -> Source:
    return Source("chat", "", "auto", "general", "general", 0, path=str(path), **settings)


def examples_of(path: Path, **settings: Any) -> tuple[Example, ...]:
    return read(path, "chat", max_bad_fraction=1, source=source_of(path, **settings)).examples


@quick
@given(
    sizes=st.lists(st.integers(40, 300), min_size=2, max_size=5),
    schemes=st.lists(st.sampled_from(SCHEMES), min_size=5, max_size=5),
    mixed=st.booleans(),
    denominator=st.sampled_from([2, 4, 16]),
    pre_split=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_share_of_each_part_of_a_file_stays_within_sampling_error_whatever_its_ids_are(  # noqa: PLR0917
    sizes: list[int],
    schemes: list[Callable[[str, int], Any]],
    mixed: bool,
    denominator: int,
    pre_split: bool,
    seed: int,
    tmp_path: Path,
) -> None:
    parts = list(zip(NAMES, sizes, schemes, strict=False))
    places = [(n if mixed else part, part, n) for part, (_, size, _) in enumerate(parts) for n in range(size)]
    rows = [
        {"id": parts[part][2](parts[part][0], n), "conversations": turns(f"{parts[part][0]} {n}?", "An answer.")}
        for _, part, n in sorted(places)
    ]
    path = written(tmp_path / "rows.jsonl", rows)
    examples = examples_of(path, pre_split=pre_split)
    taken = subset(examples, Component(source_of(path), Fraction(1, denominator), seed))
    counts = Counter(example.rounds[0][0].partition(" ")[0] for example in taken)
    total = sum(sizes)
    for name, size, _ in parts:
        share = size / total
        error = math.sqrt(len(taken) * share * (1 - share) * (total - len(taken)) / (total - 1))
        assert abs(counts[name] - len(taken) * share) <= 6 * error + 1


def chunks(name: str, count: int, cuts: Sequence[tuple[int, bool]]) -> list[dict[str, Any]]:
    """A conversation as the public file has it: a chunk begins with the last turn of the one before, or behind it."""
    every, start, rows = turns(*(f"{name} {n}" for n in range(2 * count))), 0, []
    for length, repeats in [*cuts, (2 * count, False)]:
        stop = min(start + length, len(every))
        rows.append({"id": f"{name}_{start}", "conversations": every[start:stop]})
        if stop >= len(every):
            break
        start = stop - 1 if repeats and stop - start > 1 else stop
    return rows


CHATS = st.lists(
    st.tuples(st.integers(2, 8), st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=5)),
    min_size=2,
    max_size=8,
)


@quick
@given(chats=CHATS)
def test_chunks_that_continue_each_other_are_one_group_named_as_ever(
    chats: list[tuple[int, list[tuple[int, bool]]]], tmp_path: Path
) -> None:
    rows = [row for n, (count, cuts) in enumerate(chats) for row in chunks(f"Chat{n:03}", count, cuts)]
    path = written(tmp_path / "rows.jsonl", rows)
    for row, name in zip(rows, named(rows, pre_split=True), strict=True):
        assert name == row["id"].partition("_")[0]
    assert not groups.differ_from_ids(path, len(rows), source_of(path, pre_split=True))
    reordered = [*rows[1:], rows[0]]
    repeated = [name for name, count in Counter(named(reordered, pre_split=True)).items() if name and count > 1]
    assert all(re.fullmatch("Chat[0-9]{3}(?: row [0-9]+)?", name) for name in repeated)


def named(rows: Sequence[Any], **rules: Any) -> list[str]:
    namer = groups.Namer(**rules)
    return [namer.name(groups.FileRow(row, f"row {n}")) for n, row in enumerate(rows)]


@pytest.mark.parametrize(
    "change",
    [
        {"id": "Chat000_3"},
        {"id": "Chat001_1"},
        {"id": "my_chat_1"},
        {"conversations": turns("another turn", "and its answer")},
        {"conversations": None},
    ],
)
def test_a_row_that_does_not_continue_the_one_before_stands_alone(change: dict[str, Any]) -> None:
    first = {"id": "Chat000_0", "conversations": turns("a", "b")}
    second = {"id": "Chat000_1", "conversations": [*turns("", "b")[1:], *turns("c", "d")]}
    assert named([first, second], pre_split=True) == ["Chat000", "Chat000"]
    assert named([first, {**second, **change}], pre_split=True)[1] != "Chat000"
    assert named([first, second]) == ["Chat000", ""]


@pytest.mark.parametrize(
    "rows",
    [
        [{"question": f"{n}?", "answer": "A", "topic": n // 4} for n in range(40)],
        [{"instruction": f"{n}?", "output": "A", "topic": [n // 4]} for n in range(40)],
        [{"id": f"x_{n}", "conversations": turns(f"{n}?", "A"), "topic": f"t{n // 4}"} for n in range(40)],
    ],
)
def test_a_column_groups_rows_of_any_format(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    rows[7]["topic"] = rows[8]["topic"] = None
    examples = examples_of(written(tmp_path / "rows.jsonl", rows), group_by="topic", pre_split=True)
    topics = [json.dumps(rows[place]["topic"]) for place in order(examples, 0, "chat")]
    runs = Counter(b for a, b in zip(["", *topics], topics, strict=False) if a != b)
    assert all(count == 1 for topic, count in runs.items() if topic != "null")
    assert len({example.group for example in examples}) == 12


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"question": "Q?", "answer": "A", "topic": 1}])
    with pytest.raises(RequestError, match=r"data.sources.chat.group_by=topics: .* did you mean topic\?"):
        examples_of(path, group_by="topics")


def test_names_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    """One name for all rows, or for one of them."""
    for rows in (
        [{"id": f"chat_{n}", "conversations": turns(f"{n}?", "A")} for n in range(9)],
        [{"question": f"{n}?", "answer": "A", "topic": 1} for n in range(9)],
    ):
        examples = examples_of(written(tmp_path / "rows.jsonl", rows), group_by="topic" if "topic" in rows[0] else "")
        assert [example.group for example in examples] == [f"chat/{n}" for n in range(9)]


IDS = st.one_of(
    st.none(),
    st.integers(0, 20),
    st.builds(lambda name, n: f"{name}_{n}", st.sampled_from(["Chat000", "math", ""]), st.integers(0, 9)),
    st.text(max_size=6),
    st.uuids().map(str),
)


def by_ids(rows: Sequence[Any]) -> list[int]:
    """The order of version 0.1.0."""
    names = [re.sub(r"_\d+$", "", str(row["id"] or "")) or f"chat/{n}" for n, row in enumerate(rows)]
    if len(set(names)) == 1:
        names = [f"chat/{n}" for n in range(len(rows))]
    return order_of(names, 0, "chat")


@quick
@given(
    ids=st.lists(IDS, min_size=1, max_size=12),
    block=st.integers(16, 200),
    pre_split=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_where_identity_says_no_other_groups_the_order_is_what_it_was(
    ids: list[Any], block: int, pre_split: bool, indent: int | None, tmp_path: Path
) -> None:
    rows = [{"id": row_id, "conversations": turns(f"{n}?", "A")} for n, row_id in enumerate(ids)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=bool(indent)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "BLOCK", block)
        groups._counts.cache_clear()
        groups._other_names.cache_clear()
        differ = groups.differ_from_ids(path, len(rows), source_of(path, pre_split=pre_split))
    if not differ:
        assert order(examples_of(path, pre_split=pre_split), 0, "chat") == by_ids(rows)


@pytest.mark.parametrize(
    ("row", "entry", "expected"),
    [
        (lambda n: {"id": f"set{n % 2}_{n}", "conversations": turns("a", "b")}, {}, "1:rows"),
        (lambda n: {"id": f"set{n % 2}_{n}", "conversations": turns("a", "b")}, {"pre_split": True}, "1:pre_split"),
        (lambda n: {"id": f"set{n % 2}", "messages": turns("a", "b")}, {}, "1:rows"),
        (lambda n: {"id": f"set_{n}", "conversations": turns("a", "b")}, {}, ""),
        (
            lambda n: {"id": f"set_{n}", "conversations": turns("a", "b")},
            {"clean": CleanConfig(split_tokens=64)},
            "1:rows",
        ),
        (lambda n: {"id": f"u{n}", "conversations": turns("a", "b")}, {}, ""),
        (lambda n: {"id": f"set{n % 2}_{n}", "question": "a", "answer": "b"}, {}, ""),
        (lambda _: {"question": "a", "answer": "b"}, {}, ""),
        (lambda n: {"question": "a", "answer": "b", "topic": n}, {"group_by": "topic"}, "2:group_by=topic"),
    ],
)
def test_only_sources_whose_groups_are_others_have_another_identity(
    row: Callable[[int], Any], entry: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    rows = [row(n) for n in range(6)]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    for path in (written(tmp_path / "rows.jsonl", rows), tmp_path / "rows.parquet"):
        made, _ = resolve_source(SourceConfig(name="own", ability="math", path=str(path), **entry), tmp_path, "own")
        assert made.groups == expected
        assert canonical(made).get("groups", "") == expected


def test_a_data_set_that_is_not_here_yet_may_have_such_ids(tmp_path: Path) -> None:
    entry = SourceConfig(name="own", ability="math", hub="a/b", revision="c" * 40)
    assert resolve_source(entry, tmp_path, "own")[0].groups == "1:rows"


def test_an_empty_cell_is_no_group(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer,of\na,A,\nb,B,\nc,C,x\nd,D,x\n", encoding="utf-8")
    source = Source("s", "", "auto", "", "specialized", 0, max_bad_fraction=0, group_by="of")
    examples = read(path, "s", max_bad_fraction=0, source=source).examples
    assert [one.group for one in examples] == ["s/0", "s/1", "of=x", "of=x"]
