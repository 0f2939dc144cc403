"""A source's examples, wherever they come from."""

from functools import lru_cache
from pathlib import Path

from sft_sweeps.data import mini
from sft_sweeps.data.read import Table, read
from sft_sweeps.errors import RunError
from sft_sweeps.resolve import content_of
from sft_sweeps.spec import Source


@lru_cache(maxsize=8)
def load(source: Source) -> Table:
    """Read or generate it; RunError when a file is no longer the one that was planned."""
    if source.rows_from == "generated":
        examples = mini.generate(source.name, source.rows, source.seed)
        return Table(tuple(examples), len(examples))
    path = Path(source.path)
    content, _ = content_of(path, source.content)
    if content != source.content:
        raise RunError(f"{path} changed since it was planned ({content}, planned {source.content}); launch again")
    return read(path, source.name, max_bad_fraction=source.max_bad_fraction, source=source)
