"""Attempts to pass without a right answer."""

from sft_sweeps.sandbox.hostile.attack import LIBC, Attack

ANSWER = 482915  # what the checks ask for, and nothing that a program says by chance
FRAMES = """
import sys
def walk():
    frame = sys._getframe()
    while frame:
        yield from frame.f_locals.values()
        yield from frame.f_globals.values()
        frame = frame.f_back
import os
for value in list(walk()):
    if isinstance(value, bytes) and len(value) == 32:
        for end in range(3, 64):
            try: os.write(end, value)
            except OSError: pass
        os._exit(0)
raise SystemExit
"""
MEMORY = (
    LIBC
    + """
import re
def answer():
    out, into = os.pipe()
    page = 1 << 12
    centers = {id(object()), id(type), ctypes.addressof(ctypes.create_string_buffer(1 << 20)), libc.sbrk(0)}
    for center in centers:
        for place in range((center & -page) - (12 << 20), (center & -page) + (12 << 20), page):
            if place > 0 and libc.write(into, ctypes.c_void_p(place), page) == page:
                found = re.search(rb"answer[(][)] == ([0-9]{6})", os.read(out, page))
                if found: return int(found[1])
libc.sbrk.restype = ctypes.c_void_p
"""
)

FORGING = (
    Attack("leave early with status 0", "forge", "import os; os._exit(0)"),
    Attack("SystemExit", "forge", "raise SystemExit(0)"),
    Attack(
        "write a pass to every open file",
        "forge",
        "import os\nfor end in range(64):\n  try: os.write(end, b'passed' + b'0' * 32)\n  except OSError: pass\n"
        "os._exit(0)",
    ),
    Attack(
        "the nonce from the command line",
        "forge",
        "import os\n"
        "for part in open('/proc/self/cmdline', 'rb').read().split(b'\\0'):\n"
        "  for end in range(3, 64 * (len(part) == 32)):\n    try: os.write(end, part)\n    except OSError: pass\n"
        "os._exit(0)",
    ),
    Attack("speak for the first process", "forge", "open('/proc/1/fd/1', 'wb')"),
    Attack("rewrite the first process", "forge", "open('/proc/1/mem', 'r+b')"),
    Attack(
        "an object that equals everything",
        "forge",
        "class Any:\n  def __eq__(self, other): return True\ndef answer(): return Any()",
        strict=True,
    ),
    Attack("the nonce from stack frames", "forge", "def answer(): return 0\n" + FRAMES, strict=True),
    Attack("the answer from the own memory", "forge", MEMORY, strict=True),
    Attack(
        "another compile in place of the checks'",
        "forge",
        "import builtins\ndef answer(): return 0\nbuiltins.compile = lambda *_, **__: '0'",
    ),
)
