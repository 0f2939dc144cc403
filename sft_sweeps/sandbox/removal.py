"""Removing a folder that a hostile program has filled: of any depth, with names and rights of any kind."""

import os
import stat
from contextlib import suppress


def remove(folder: str) -> None:
    """Remove the folder and all that it holds, as far as that is possible; nothing outside it, no link is followed.

    Every folder below is emptied into this one and then removed. So nothing is deeper than two levels when it is
    reached: no path is too long, no recursion too deep, and three files are open at most.
    """
    with suppress(OSError):
        _open_up(folder)
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _empty(top)
        finally:
            os.close(top)
        os.rmdir(folder)


def _open_up(folder: str, within: int | None = None) -> None:
    """Give its owner every right to a folder; never to what a link names, which a program may have put in its place."""
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        os.chmod(f"/proc/self/fd/{handle}", 0o700)
    finally:
        os.close(handle)


def _empty(top: int) -> None:
    """Rounds of lifting and removing, until nothing is left or nothing moves."""
    number, moved = 0, True
    while moved and (names := os.listdir(top)):
        moved = False
        for name in names:
            try:
                if _is_folder(name, top):
                    number = _lift(name, top, number)
                    os.rmdir(name, dir_fd=top)
                else:
                    os.unlink(name, dir_fd=top)
                moved = True
            except OSError:
                continue


def _lift(name: str, top: int, number: int) -> int:
    """Unlink a folder's files, and move its folders up under names that are free; the last number used in one."""
    _open_up(name, top)
    handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        for child in os.listdir(handle):
            if not _is_folder(child, handle):
                os.unlink(child, dir_fd=handle)
                continue
            _open_up(child, handle)  # its entry for the folder above changes
            number = _free(top, number + 1)
            os.rename(child, f".lifted-{number}", src_dir_fd=handle, dst_dir_fd=top)
    finally:
        os.close(handle)
    return number


def _free(top: int, number: int) -> int:
    while True:
        try:
            os.stat(f".lifted-{number}", dir_fd=top, follow_symlinks=False)
        except FileNotFoundError:
            return number
        number += 1


def _is_folder(name: str, within: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=within, follow_symlinks=False).st_mode)
