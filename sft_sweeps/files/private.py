"""What is run for a user, in a store that others may write in: code, job files, batch scripts.

Folders are 755 and files 644 whatever the umask and the folder above, so that others read and only their owner writes.
Before such a file is used its owner is asked: this user, root, or one that `cluster.trusted_uids` names.
"""

import contextlib
import os
import pwd
import shlex
import stat
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from sft_sweeps.errors import RequestError, RunError

FOLDER, FILE, UMASK = 0o755, 0o644, 0o022
OTHERS = stat.S_IWGRP | stat.S_IWOTH
TRUSTED = "SFT_SWEEPS_TRUSTED_UIDS"  # in a job's environment, beside this user and root: "1001 1002"
NAMES = ("code", "jobs", "slurm")  # of private folders in a sweep's; another user's end in -<user>


def folder(parent: Path, name: str) -> Path:
    """The folder of that name which this user alone writes in, made where it is missing.

    Where another user has it, this one's is beside it: `name-user`.
    """
    for candidate in (parent / name, parent / f"{name}-{_user()}"):
        with contextlib.suppress(FileExistsError):
            candidate.mkdir(parents=True)
        found = candidate.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            candidate.chmod(FOLDER)
            return candidate
    raise RequestError(f"{candidate} is not yours, and what runs for you must be: delete it, or set output_dir=FOLDER")


def folders(parent: Path, name: str) -> list[Path]:
    """The folders of that name of all users."""
    return [parent / name, *sorted(parent.glob(f"{name}-*"))]


def write(path: Path, content: bytes) -> None:
    """Write a file that this user alone may change, in a private folder; a reader sees it whole."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE), "wb") as file:
            os.fchmod(file.fileno(), FILE)
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    """The content of a file that only trusted users may have written; RunError for any other."""
    with opened(path) as file:
        return file.read()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Such a file, to read parts of; RunError for any other, and where it cannot be read."""
    try:
        if wrong := problem(path.parent):
            raise RunError(wrong)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            if wrong := _problem(path, os.fstat(file.fileno())):  # of what is read, whatever is put there meanwhile
                raise RunError(wrong)
            yield file
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None


def problem(path: Path) -> str:
    """Why a file or folder is not to be trusted; empty where only trusted users may have written it."""
    return _problem(path, path.lstat())


def _problem(path: Path, found: os.stat_result) -> str:
    ask = "It is not used: have it removed, and launch again"
    if found.st_uid not in trusted():
        return (
            f"{path} belongs to user {found.st_uid}, and is run for user {os.geteuid()}. {ask}, or trust that user "
            f"with cluster.trusted_uids=[{found.st_uid}]"
        )
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a link. {ask}"
    return f"{path} can be changed by others (mode {stat.S_IMODE(found.st_mode):o}). {ask}" if _open(found) else ""


def _open(found: os.stat_result) -> bool:
    return bool(found.st_mode & OTHERS)


def trusted() -> set[int]:
    """Whose files are run: this user's, root's, and those of users that the configuration names."""
    named = os.environ.get(TRUSTED, "").split()
    return {os.geteuid(), 0, *(int(uid) for uid in named if uid.isdecimal())}


@contextlib.contextmanager
def umask() -> Iterator[None]:
    """What is made meanwhile in this process is for others to read."""
    before = os.umask(UMASK)
    try:
        yield
    finally:
        os.umask(before)


def shell_check(code: Path, digest: str, uids: Sequence[int]) -> str:
    """Lines of a shell script that end it unless a folder holds what was written there, by trusted users alone."""
    owners = " ".join(f"! -uid {uid}" for uid in sorted({os.geteuid(), 0, *uids}))
    return f"""\
sft_sweeps_code={shlex.quote(str(code))}
if [ -n "$(find "$sft_sweeps_code" \\( {owners} -o -perm /022 ! -type l -o -type l \\) -print -quit)" ] ||
  [ "$(cd "$sft_sweeps_code" && {DIGEST})" != {digest} ]; then
  echo "$sft_sweeps_code is not the code that was submitted, or others may change it; launch again" >&2
  exit 1
fi"""


# Of all files of the working folder, by name and content.
DIGEST = "find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-64"


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
