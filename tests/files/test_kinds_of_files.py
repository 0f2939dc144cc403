"""Tables and their separators, encodings, objects of one line: what was written is read, or the file is refused."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.errors import RequestError
from sft_sweeps.files.csv_rows import SEPARATORS
from sft_sweeps.files.encodings import encoding
from sft_sweeps.files.layout import described, has_glued
from sft_sweeps.files.rows import count_rows, read_rows
from sft_sweeps.files.text_kinds import COMMON

CELL = st.text(st.sampled_from("ab \n\t,;|\"'é"), max_size=12)
PAIRS = st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6)


def values(content: bytes, suffix: str = "jsonl") -> list[Any]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"rows.{suffix}"
        path.write_bytes(content)
        found = list(read_rows(path, "s"))
        assert count_rows(path) == len(found)
        return [row.value if row.broken is None else None for row in found]


@given(
    PAIRS,
    st.sampled_from([*SEPARATORS]),
    st.sampled_from(["csv", "tsv"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_table_is_read_whatever_stands_between_its_values(
    pairs: list[tuple[str, str]], mark: str, suffix: str, written: str
) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text, delimiter=mark, quoting=csv.QUOTE_ALL)
    table.writerows([("question", "answer"), *pairs])
    expected = [{"question": question, "answer": answer} for question, answer in pairs]
    assert values(text.getvalue().encode(written), suffix) == expected


RAW = st.text(st.sampled_from("ab ,;\"'é"), min_size=1, max_size=12)


@given(st.lists(st.tuples(RAW, RAW), min_size=1, max_size=6))
def test_values_between_tabs_may_be_written_as_they_are(pairs: list[tuple[str, str]]) -> None:
    """But for one that is all in quotes, which is taken for a quoted one."""
    lines = [("question", "answer"), ('"So"', 'he said "a" b'), ('"x" is no quoted value', "y"), *pairs]
    content = "".join("\t".join(line) + "\n" for line in lines).encode()
    assert values(content, "tsv") == [{"question": one, "answer": other} for one, other in lines[1:]]


WESTERN = st.text(st.sampled_from(["a", "b", " ", *sorted(COMMON)]), min_size=1, max_size=9)


@given(st.lists(WESTERN, min_size=1, max_size=6))
def test_what_is_surely_windows_1252_is_read_as_that(texts: list[str]) -> None:
    rows = [{"question": f"plain {n}", "answer": " ".join(text)} for n, text in enumerate(texts)]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("cp1252")
    assert values(content) == rows


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("zażółć gęślą jaźń", "cp1250"),
        ("árvíztűrő tükörfúrógép", "cp1250"),
        ("příliš žluťoučký kůň", "cp1250"),
        ("съешь ещё этих булок", "cp1251"),
        ("fıstıkçı şahap ağaç", "cp1254"),
        ("l'été où “ça” dîne", "mac_roman"),
        ("Grüße für Übermut, größer", "cp850"),
        ("天地玄黄", "gb18030"),
        ("いろはにほへと", "shift_jis"),
    ],
)
def test_other_encodings_are_refused_and_not_guessed(text: str, written: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes((json.dumps({"question": text, "answer": "a"}, ensure_ascii=False) + "\n").encode(written) * 20)
    assert encoding(path) == ""
    with pytest.raises(RequestError, match="is not UTF-8"):
        list(read_rows(path, "s"))


def test_a_file_of_two_encodings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    line = '{"question": "été", "answer": "a"}\n'
    path.write_bytes(line.encode("cp1252") * 500 + line.encode())
    with pytest.raises(RequestError, match="is not UTF-8"):
        list(read_rows(path, "s"))


OBJECTS = st.lists(
    st.fixed_dictionaries({"a": st.text('ab{}" \n'), "b": st.lists(st.integers())}), min_size=1, max_size=8
)


@given(OBJECTS, st.lists(st.sampled_from(["\n", "", " ", "\t"]), min_size=8, max_size=8))
def test_objects_are_rows_however_many_stand_in_a_line(objects: list[Any], ends: list[str]) -> None:
    text = "".join(json.dumps(one) + end for one, end in zip(objects, ends, strict=False)).encode()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(text)
        assert [row.value for row in read_rows(path, "s")] == objects
        assert count_rows(path) == len(objects)
        lines = [line for line in text.decode().split("\n") if line.strip()]
        assert has_glued(path) == (len(lines) < len(objects) and not _spans(text.decode()))


def _spans(text: str) -> bool:
    """Whether the first line is several objects with nothing between, by which the whole file is read another way."""
    first = text.partition("\n")[0]
    stop = json.JSONDecoder().raw_decode(first)[1]
    return "\n" in text and first[stop : stop + 1] == "{"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"a": 1}\n', "JSON lines, in UTF-8"),
        ("a.json", b'[{"a": 1}]', "a JSON array, in UTF-8"),
        ("a.tsv", b"a\tb\n1\t2\n", "a table, separated by tabs, in UTF-8"),
        ("a.tsv", b"a,b\n1,2\n", "a table, separated by commas, in UTF-8"),
        ("a.csv", "a;b\n1;é\n".encode("utf-16"), "a table, separated by semicolons, in UTF-16"),
        ("a.jsonl", '{"a": "é"}\n'.encode("cp1252"), "JSON lines, in Windows-1252 (cp1252)"),
    ],
)
def test_a_file_is_named_for_what_it_is(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert described(tmp_path / name) == said
