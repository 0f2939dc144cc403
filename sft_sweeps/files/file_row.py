"""One row of a file, whatever kind of file it is."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row: its value, its location in the file ("line 3"), and the text of a broken one.

    `group` names the rows with which it belongs together (data/groups.py), "" where it stands alone. `twice` is a key
    that one of its objects names twice.
    """

    value: Any
    location: str
    broken: str | None = None
    group: str = ""
    twice: str = ""
