"""What of the machine a sandboxed program may read: system libraries and the interpreter, no installed packages.

Candidates run without `site` and so need none. Test sets are installed as packages, and a program that reads the one it
is tested on would pass.
"""

import os
import site
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path


@cache
def readable(wrapped: bool) -> tuple[str, ...]:
    """Files and folders to be read whole; with a slash at the end, folders of which only the names can be listed.

    In bubblewrap (`wrapped`) what is closed is not there, and needs no walking around.
    """
    hidden = () if wrapped else closed()
    shown = dict.fromkeys(path for root in roots() for path in _around(Path(root), hidden))
    return (*shown, "/etc/ld.so.cache")


def roots() -> list[str]:
    """Where libraries and the interpreter lie."""
    interpreter = (sys.base_prefix, str(Path(os.__file__).parent), str(Path(sys.executable).resolve().parent))
    return sorted({"/usr", "/lib", "/lib64", "/bin", *interpreter} - {"/", ""})


def closed_within() -> list[str]:
    """Those of the closed folders that are below what is readable."""
    within = tuple(f"{Path(root).resolve()}/" for root in roots())
    return [folder for folder in closed() if folder.startswith(within)]


@cache
def closed() -> tuple[str, ...]:
    """Folders of installed packages, of this interpreter and of the one that it was made from."""
    named = {Path(path) for path in (*sys.path, *site.getsitepackages()) if path}
    base = Path(os.__file__).parent
    named |= {base / "site-packages", base / "dist-packages"}
    found = {path.resolve() for path in named if path.name in ("site-packages", "dist-packages") and path.is_dir()}
    return tuple(sorted(map(str, found)))


def _around(folder: Path, hidden: Sequence[str]) -> Iterator[str]:
    """The folder without what is hidden: itself, or the list of its names and what it holds."""
    own = str(folder.resolve())
    if own in hidden:
        return
    if not any(other.startswith(f"{own}/") for other in hidden):
        yield str(folder)
        return
    yield f"{folder}/"
    for entry in sorted(folder.iterdir()):
        if not entry.is_symlink():
            yield from _around(entry, hidden)
