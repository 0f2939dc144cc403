"""One process at a time, on one machine or on several that share a file system."""

import contextlib
import errno
from collections.abc import Callable, Iterator
from pathlib import Path

# What flock answers where a file system has no locks (Lustre mounted without them, some FUSE file systems).
WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
POLL_SECONDS = 0.2


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Hold the lock of a file, which is made and stays; whoever has it is waited for, after `waiting` was called.

    The kernel releases the lock when its holder dies. Where the file system has no locks, nobody is waited for: the
    caller must be right then too, only slower. OSError where the file cannot be written.
    """
    from filelock import FileLock, Timeout  # 0.1 s that only its users pay

    # The soft lock that filelock would fall back to outlives a holder that is killed on another machine.
    lock = FileLock(path, poll_interval=POLL_SECONDS, fallback_to_soft=False)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()
