"""Attacks on others' files: what they hold, what stands beside that, and that they are there."""

from sft_sweeps.sandbox.hostile.attack import LIBC, Attack

FILES = (
    Attack("write into another's folder", "fs", "open('{folder}/planted', 'w').write('x')"),
    Attack("change another's file", "fs", "open('{folder}/secret', 'a').write('x')"),
    Attack("read a key", "fs", "assert '{secret}' in open('{folder}/secret').read()"),
    Attack("read /etc/passwd", "fs", "assert 'root' in open('/etc/passwd').read()"),
    Attack("list the home folders", "fs", "import os; assert os.listdir('/home') is not None and os.listdir('/root')"),
    Attack(
        "read another process's environment", "fs", "assert b'{secret}' in open('/proc/{pid}/environ', 'rb').read()"
    ),
    Attack("a link out of the folder", "fs", "import os; os.symlink('{folder}/secret', 's'); open('s').read()"),
    Attack("a hard link out of the folder", "fs", "import os; os.link('{folder}/secret', 's'); open('s').read()"),
    Attack(
        "read another's memory",
        "fs",
        LIBC + "b = ctypes.create_string_buffer(8); v = (ctypes.c_uint64 * 2)"
        "(ctypes.addressof(b), 8)\ncall(number(310, 270), {pid}, v, 1, v, 1, 0)",
    ),
    Attack("read the keeper's memory", "fs", "import os; open(f'/proc/{{os.getppid()}}/mem', 'rb')"),
    Attack("change another's mode", "fs", "import os; os.chmod('{folder}/secret', 0o600)"),
    Attack("change another's mode by a newer call", "fs", LIBC + "call(452, -100, b'{folder}/secret', 0o600, 0)"),
    Attack("change another folder's mode", "fs", "import os; os.chmod('{folder}', 0o700)"),
    Attack("change another's owner", "fs", "import os; os.chown('{folder}/secret', os.getuid(), os.getgid())"),
    Attack("change another's times", "fs", "import os; os.utime('{folder}/secret', (1, 1))"),
    Attack("give another's file an attribute", "fs", "import os; os.setxattr('{folder}/secret', 'user.a', b'x')"),
    Attack("read another's attributes", "fs", "import os; os.listxattr('{folder}/secret')"),
    Attack("truncate another's file", "fs", "import os; os.truncate('{folder}/secret', 1)"),
    Attack("empty another's file by reading it", "fs", "import os; os.open('{folder}/secret', os.O_TRUNC)"),
    Attack("empty another's file without a right", "fs", "import os; os.open('{folder}/secret', os.O_TRUNC | 3)"),
    Attack(
        "change another file's flags",
        "fs",
        LIBC + "f = os.open('{folder}/secret', 3)\ncall(number(16, 29), f, 0x40086602, (ctypes.c_long * 1)(0x80))",
    ),
    Attack("remove another's file", "fs", "import os; os.unlink('{folder}/secret')"),
    Attack("rename another's file", "fs", "import os; os.rename('{folder}/secret', '{folder}/other')"),
    Attack(
        "watch another's folder",
        "fs",
        LIBC + "w = call(number(294, 26), 0)\ncall(number(254, 27), w, b'{folder}', 0xfff)",
    ),
    Attack(
        "have news of another's folder",
        "fs",
        LIBC + "f = os.open('{folder}', os.O_RDONLY)\ncall(number(72, 25), f, 1026, 0x1f)",
    ),
    Attack("learn the size of another's file", "names", "import os; assert os.stat('{folder}/secret').st_size"),
)
