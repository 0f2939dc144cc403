"""Attempts to take more of the machine than is given, and to leave something on it."""

from sft_sweeps.sandbox.hostile.attack import LIBC, Attack

HIDDEN = (
    LIBC
    + """
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
block = bytes(4 << 20)
for number in range(64):
    f = os.open("x", os.O_RDWR | os.O_CREAT)
    os.unlink("x")
    fill(f)
    assert libc.mmap(None, 4096, 1, 1, f, 0) != 2 ** 64 - 1
    os.close(f)
"""
)
WRITE = "def fill(f): [os.write(f, block) for _ in range(4)]\n"
AS_MEMORY = "os.makedirs('x /dev')" + HIDDEN.replace('"x"', '"x /dev/zero"').replace("(64)", "(6)")
OWN_TABLE = (
    LIBC
    + """
import _thread, time
def hide():
    try:
        call(436, 20, 2 ** 32 - 1, 2)
        for number in range(6):
            f = os.open(".", os.O_RDWR | os.O_TMPFILE)
            for _ in range(4): os.write(f, bytes(4 << 20))
        time.sleep(0.5)
        ended.append(True)
    except OSError: ended.append(False)
ended = []
_thread.start_new_thread(hide, ())
while not ended: time.sleep(0.01)
assert ended[0]
"""
)
RULES = (
    LIBC
    + """
import time
rules = call(444, (ctypes.c_uint64 * 1)(2), 8, 0)
for number in range(6):
    f = os.open("x", os.O_RDWR | os.O_CREAT)
    for _ in range(4): os.write(f, bytes(4 << 20))
    call(445, rules, 1, ctypes.create_string_buffer((2).to_bytes(8, "little") + f.to_bytes(4, "little"), 12), 0)
    os.unlink("x")
    os.close(f)
time.sleep(0.5)
"""
)

LIMITS = (
    Attack("memory of 3 GiB", "limits", "x = bytearray(3 << 30)"),
    Attack("memory by a file without a name", "limits", LIBC + "call(number(319, 279), b'x', 0)"),
    Attack("shared memory that stays", "limits", LIBC + "call(number(29, 194), 1234, 1 << 20, 0o1666)"),
    Attack(
        "fill the disk",
        "limits",
        "for n in range(40):\n  with open(f'f{{n}}', 'wb') as f:\n    for _ in range(15): f.write(bytes(1 << 20))\n"
        "import time; time.sleep(0.5)",
    ),
    Attack("a million files", "limits", "for n in range(10**6): open(str(n), 'w').close()"),
    Attack("endless output", "limits", "while True: print('x' * 10**6)"),
    Attack("a sleep that no signal ends", "limits", "import time; time.sleep(1000)"),
    Attack("a number without end", "limits", "x = 10 ** 10 ** 9"),
    Attack("10,000 threads", "limits", "import _thread\nfor _ in range(10**4): _thread.start_new_thread(input, ())"),
    Attack(
        "fill the disk with files without names",
        "limits",
        "import os\ndef fill(f): os.posix_fallocate(f, 0, 16 << 20)\n" + HIDDEN,
    ),
    Attack(
        "write files without names",
        "limits",
        "import os\n" + WRITE + HIDDEN,
    ),
    Attack(
        "write files that are called like memory", "limits", "import os, time\n" + WRITE + AS_MEMORY + "time.sleep(0.5)"
    ),
    Attack("write files that another thread has open", "limits", OWN_TABLE),
    Attack("write files that a rule holds", "limits", RULES),
    Attack(
        "fill a folder in memory",
        "limits",
        "import os\nwhere = next(d for d in ('/dev/shm', '/dev') if os.access(d, os.W_OK))\nfor n in range(12):\n"
        "  with open(f'{{where}}/{name}-{{n}}', 'wb') as f:\n    os.unlink(f.name)\n"
        "    for _ in range(15): f.write(bytes(1 << 20))",
    ),
    Attack(
        "leave a deep tree",
        "limits",
        "import os\nfor n in range(1500):\n  os.mkdir('d' * 200); os.chdir('d' * 200)\nraise SystemExit",
    ),
    Attack(
        "leave folders that are closed",
        "limits",
        "import os\nfor n in range(9):\n  os.mkdir('d'); os.mkdir('e', 0); os.chdir('d')\nraise SystemExit",
    ),
)
