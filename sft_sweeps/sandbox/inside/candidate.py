"""The candidate of a strict run: a process started anew, which is told the program and nothing of its checks."""

import os
import sys

from sft_sweeps.sandbox.inside import checking, order
from sft_sweeps.sandbox.inside.confinement import confine
from sft_sweeps.sandbox.inside.preload import import_common

CALLS, ANSWERS, FAILURE = 3, 4, 5  # the open ends that the keeper gives it


def main() -> None:
    """Read what to run, be confined, run it, and answer the checks' calls."""
    told = order.Order(order.read(0))
    __import__("json")
    if told.preload:
        import_common(told.program)
    sys.argv = [""]
    if not confine(told, [CALLS, ANSWERS], FAILURE):
        os._exit(0)
    try:
        checking.serve(told, CALLS, ANSWERS)
    finally:
        os._exit(0)
