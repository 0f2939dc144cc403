"""What a file of rows is: how they are laid out, in which encoding, and whether lines hold several."""

from functools import lru_cache
from pathlib import Path

from sft_sweeps.files import csv_rows, encodings, glued, packing, text_kinds
from sft_sweeps.files.rows import kind_of, read_rows, suffix_of


def described(path: Path) -> str:
    """What a file is, in words: how its rows are laid out, and its encoding."""
    if packing.packing(path) == "parquet":
        return "Parquet"
    what = encodings.encoding(path)
    with packing.opened(path) as file:
        head = file.read(packing.BLOCK)
    if what not in ("utf-8", ""):
        head = head.decode(what, "ignore").encode()
    kind = kind_of(head, suffix_of(path))
    if kind == "csv":
        mark, _ = csv_rows.separator(head, suffix_of(path))
        layout = f"a table, separated by {csv_rows.SEPARATORS[mark]}"
    else:
        layout = {"array": "a JSON array", "objects": "JSON objects"}.get(kind, "JSON lines")
    return f"{layout}, in {text_kinds.NAMES.get(what, what.upper())}"


def has_glued(path: Path) -> bool:
    """Whether a file has a line that is several objects; it is searched for what parts two of them."""
    stat = path.stat()
    return _has_glued(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _has_glued(name: str, size: int, mtime: int) -> bool:  # noqa: ARG001
    if packing.packing(name) == "parquet" or not glued.may_be(Path(name)):
        return False
    return any(glued.OBJECT in row.location for row in read_rows(Path(name), "rows"))
