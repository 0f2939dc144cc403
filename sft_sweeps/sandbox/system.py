"""The machine that a sandboxed program sees: system libraries and the interpreter, no installed packages; its user.

Candidates run without `site` and so need none. Test sets are installed as packages, and a program that reads the one it
is tested on would pass.
"""

import os
import site
import stat
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

NOBODY = 65534
# Fixed hashing makes verdicts repeatable: `-I` would ignore this variable, `-P -s` isolate as well.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin", "PYTHONUTF8": "1"}


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


def drops_to() -> int | None:
    """The user that the candidate becomes: root's limits on processes bind nobody, so root gives itself up."""
    return NOBODY if os.geteuid() == 0 else None


@cache
def preloads() -> bool:
    """Whether the keeper must import for the candidate, because the library lies where user 65534 cannot read."""
    if drops_to() is None:
        return False
    library = Path(os.__file__).resolve()
    return not all(folder.stat().st_mode & stat.S_IXOTH for folder in library.parents)
