"""Of an error on a full disk the place and the reason are told, whoever raised it."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.files import full_disk

NUMBERS = [errno.ENOSPC, errno.EDQUOT, errno.EFBIG]


class LibraryError(Exception):
    """As safetensors, tokenizers and torch raise them: text alone."""


def raised(kind: str, number: int, path: str | None) -> BaseException:
    reason = os.strerror(number)
    first: BaseException = {
        "system": OSError(number, reason, path),
        "rust": LibraryError(f"Error while serializing: I/O error: {reason} (os error {number})"),
        "short": LibraryError(f"io (os error {number})"),
        "words": RuntimeError(f"[enforce fail at file.cc:42] write failed: {reason.lower()}"),
    }[kind.removesuffix(" behind")]
    if not kind.endswith(" behind"):
        return first
    try:
        try:
            raise first
        except Exception as error:
            raise LibraryError("cannot save") from error
    except LibraryError as error:
        return error


@given(
    st.sampled_from([f"{kind}{behind}" for kind in ("system", "rust", "short", "words") for behind in ("", " behind")]),
    st.sampled_from(NUMBERS),
    st.none() | st.just("/data/out/metrics.jsonl"),
)
def test_the_place_and_the_reason(kind: str, number: int, path: str | None) -> None:
    """The file where the error names it, else the folder in which the job worked; what the system calls it."""
    place = path if path and kind.startswith("system") else "/data/out"
    expected = f"{place} cannot be written: {os.strerror(number)}; make room there"
    assert full_disk.in_words(raised(kind, number, path), Path("/data/out")) == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EIO, "Input/output error"), "[Errno 5] Input/output error (working in {})"),
        (PermissionError(13, "Permission denied", "/x"), "[Errno 13] Permission denied: '/x'"),
        (ValueError("28 is too many"), "ValueError: 28 is too many"),
        (KeyError("x"), "KeyError: 'x'"),
    ],
)
def test_other_errors_are_not_taken_for_one(error: Exception, text: str, tmp_path: Path) -> None:
    assert full_disk.in_words(error, tmp_path) == text.format(tmp_path)


def test_an_error_that_says_nothing_of_it_on_a_disk_with_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_disk, "NOTHING_LEFT", 1 << 62)
    text = full_disk.in_words(EOFError("cut short"), tmp_path)
    assert text == f"EOFError: cut short; {tmp_path} cannot be written: No space left on device; make room there"
