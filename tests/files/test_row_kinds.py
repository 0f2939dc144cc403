"""A table is the same whatever kind of file it lies in; what cannot be read is named, with what to do about it."""

import csv
import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.data import row_scan
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.rows import count_rows, read_rows

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=8)
ROWS = st.lists(st.fixed_dictionaries({"question": TEXT, "answer": TEXT}), min_size=2, max_size=6)


def lines(rows: list[Any], end: str = "\n", ascii_only: bool = False) -> str:
    return end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)


def table(rows: list[Any], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["question", "answer"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def columns(rows: list[Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in ("question", "answer")}


KINDS = {
    "lines.jsonl": lines,
    "array.json": json.dumps,
    "pretty.json": lambda rows: json.dumps(rows, indent=2),
    "objects.json": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
    "carriage.jsonl": lambda rows: lines(rows, "\r"),
    "windows.jsonl": lambda rows: lines(rows, "\r\n"),
    "data.json": lambda rows: json.dumps({"version": "1", "data": rows}, indent=1),
    "train.json": lambda rows: json.dumps({"train": rows}),
    "viewer.json": lambda rows: json.dumps({"rows": [{"row_idx": 1, "row": row} for row in rows]}),
    "columns.json": lambda rows: json.dumps(columns(rows), indent=2),
    "pandas.json": lambda rows: json.dumps({k: {str(n): v for n, v in enumerate(c)} for k, c in columns(rows).items()}),
    "index.json": lambda rows: json.dumps({str(n): row for n, row in enumerate(rows)}),
    "split.json": lambda rows: json.dumps({"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}),
    "table.csv": table,
    "table.tsv": lambda rows: table(rows, "\t"),
    "semicolons.csv": lambda rows: table(rows, ";"),
    "unnamed": table,
    "joined.jsonl": lambda rows: "\n\ufeff".join(json.dumps(row) for row in rows),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")


@given(rows=ROWS, kind=st.sampled_from(sorted(KINDS)), encoding=st.sampled_from(ENCODINGS), packed=st.booleans())
def test_a_table_is_the_same_in_any_kind_of_file(
    rows: list[Any], kind: str, encoding: str, packed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = KINDS[kind](rows).encode(encoding)
    path = tmp_path_factory.mktemp("kinds") / (kind + ".gz" * packed)
    path.write_bytes(gzip.compress(content) if packed else content)
    assert [row.value for row in read_rows(path, "s")] == rows
    assert count_rows(path) == content_pin(path)[1] == len(rows)
    row_scan.traits(path)


@given(rows=ROWS.filter(lambda rows: len(rows) > 2), kind=st.sampled_from(["objects.json", "array.json", "data.json"]))
def test_a_file_of_any_kind_is_read_in_blocks(
    rows: list[Any], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("kinds") / kind
    path.write_text(KINDS[kind](rows), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sft_sweeps.files.rows.BLOCK", 40)
        assert [row.value for row in read_rows(path, "s")] == rows


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]},
        {"question": "a", "answer": "b"},
    ],
)
def test_the_only_row_of_a_file_is_a_row(row: Any, tmp_path: Path) -> None:
    for indent in (None, 2):
        (tmp_path / "a.json").write_text(json.dumps(row, indent=indent))
        assert [found.value for found in read_rows(tmp_path / "a.json", "s")] == [row]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"question": "\u00f0", "answer": "\u201cx"}'.encode("cp1252"),
            "iconv -f CP1252 -t UTF-8 .*/file > NEW",
        ),
        ('{"question": "\u6570\u5b66\u9898\u76ee"}'.encode("gb18030"), "GB18030 .*iconv -f ENCODING"),
        (('{"q": "' + "\u00e9\u4e2d" * 9).encode() + b'\xe9"}', "iconv -c -f UTF-8"),
        (json.dumps({"train": [{"a": 1}], "test": [{"a": 1}]}).encode(), r"several lists .*train, test.*jq -c"),
        (b"PK\x03\x04 and more", "ZIP archive or an Excel workbook"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"ARROW1\0\0", "Parquet"),
        ("\ufeff{".encode("utf-16-le") + b"\x00\xd8", "no whole UTF-16"),
    ],
)
def test_what_cannot_be_read_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RequestError, match=message):
        list(read_rows(tmp_path / "file", "s"))


def test_a_table_with_too_many_values_in_a_row_has_a_broken_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('question,answer\n"a, b","c\nd"\nx,y,z\n')
    rows = list(read_rows(tmp_path / "a.csv", "s"))
    assert rows[0].value == {"question": "a, b", "answer": "c\nd"}
    assert [row.broken is None for row in rows] == [True, False]


def _tar(rows: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("rows.jsonl")
        member.size = len(rows)
        archive.addfile(member, io.BytesIO(rows))
    return packed.getvalue()


SHORTENED = {"rows": [{"row_idx": 0, "row": {"question": "Q", "answer": "A"}, "truncated_cells": ["answer"]}]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.tar", _tar(b'{"question": "Q", "answer": "A"}\n' * 50), "tar -xf"),
        ("rows.tar.gz", gzip.compress(_tar(b'{"question": "Q", "answer": "A"}\n' * 50)), "tar -xf"),
        ("rows.jsonl.gz", gzip.compress(gzip.compress(b"{}")), "packed twice"),
        ("rows.csv", b"question,question,answer\na,b,c\n", "several columns called question"),
        ("rows.json", json.dumps(SHORTENED).encode(), "truncated_cells"),
        ("rows.pkl", b"\x80\x05\x95", "Python pickle"),
    ],
    ids=["tar", "tar.gz", "gzip of gzip", "two columns of one name", "shortened by the viewer", "pickle"],
)
def test_files_of_which_something_would_be_lost_are_refused(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=said):
        list(read_rows(tmp_path / name, "s"))
