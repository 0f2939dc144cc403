"""One attack, and what the programs have in common."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Attack:
    """`property` is what it breaks; `program` comes to its end only if it got what it wanted.

    One that leaves a mark instead ends with SystemExit: the victims are compared afterwards. `strict`: only
    a strict run is meant to hold it. `late`: it may leave its mark when the run is over.
    """

    name: str
    property: str
    program: str
    strict: bool = False
    late: bool = False


LIBC = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
    return result
def allowed(function):
    try: function()
    except OSError: return False
    return True
def number(x86_64, aarch64): return x86_64 if os.uname().machine == "x86_64" else aarch64
"""
