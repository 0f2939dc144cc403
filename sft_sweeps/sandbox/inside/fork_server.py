"""The process that stays: it forks a keeper for one run after another, and outlives each.

It reads no order itself, and so has nothing of any run in the memory that the next keeper is a copy of. A killed keeper
would leave behind a candidate that asked not to die with its parent: what is left of a run is ended here.
"""

import os

from sft_sweeps.sandbox.inside import keeper, order
from sft_sweeps.sandbox.inside.confinement import DUMPABLE, SUBREAPER, prctl
from sft_sweeps.sandbox.inside.preload import import_frequent
from sft_sweeps.sandbox.inside.watching import end_descendants, kill

SIGTERM = 15


def main(script: str, bundle: bytes, many: bool) -> None:
    """Serve until the orders end, or a run leaves something behind that the next one could find."""
    prctl(DUMPABLE, 0)
    prctl(SUBREAPER, 1)  # what a candidate leaves becomes our child, so that we find it
    if many:
        import_frequent()
    here = os.getcwd()
    while served(script, bundle) and empty(here):
        os.write(1, order.READY)


def empty(here: str) -> bool:
    """Whether we are in this folder still, which a program can remove or move where only seccomp is, with no file."""
    try:
        return os.getcwd() == here and not os.listdir(".")
    except OSError:
        return False


def served(script: str, bundle: bytes) -> bool:
    """Fork a keeper, which waits for an order, and end what is left of it; whether it came to its own end."""
    _signal = __import__("_signal")  # without the library's, which would double the time of starting
    pid = os.fork()
    if not pid:
        keeper.main(script, bundle)
    _signal.signal(SIGTERM, lambda *_: kill(pid))
    status = os.waitpid(pid, 0)[1]
    _signal.signal(SIGTERM, _signal.SIG_DFL)
    end_descendants(set())
    return status == 0
