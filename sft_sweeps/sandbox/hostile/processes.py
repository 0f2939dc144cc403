"""Attacks on other processes and what they share, and attempts to make some."""

from sft_sweeps.sandbox.hostile.attack import LIBC, Attack

PROCESSES = (
    Attack("kill", "kill", LIBC + "call(number(62, 129), {pid}, 9)"),
    Attack("kill the keeper", "kill", LIBC + "call(number(62, 129), os.getppid(), 9)"),
    Attack(
        "kill by sigqueue",
        "kill",
        LIBC + "info = ctypes.create_string_buffer(128); info.raw = (9).to_bytes(4, 'little') + bytes(4)"
        " + (-1).to_bytes(4, 'little', signed=True) + bytes(116)\ncall(number(129, 138), {pid}, 9, info)",
    ),
    Attack("kill by an x32 call", "kill", LIBC + "call(62 | 0x40000000, {pid}, 9)"),
    Attack("kill by a pidfd", "kill", LIBC + "call(424, call(434, {pid}, 0), 9, None, 0)"),
    Attack(
        "kill by a file's owner",
        "kill",
        LIBC + "r, w = os.pipe()\nf = number(72, 25)\ncall(f, r, 8, {pid}); call(f, r, 10, 9); call(f, r, 4, 0o20000)\n"
        "os.write(w, b'x')",
    ),
    Attack("lower another's limits", "kill", LIBC + "call(number(302, 261), {pid}, 0, bytes(16), None)"),
    Attack("ptrace", "kill", LIBC + "call(number(101, 117), 16, {pid}, None, None)"),
    Attack("renice another", "kill", "import os; os.setpriority(os.PRIO_PROCESS, {pid}, 19)"),
    Attack(
        "bind another to a core", "kill", "import os; os.sched_setaffinity({pid}, {{min(os.sched_getaffinity(0))}})"
    ),
    Attack(
        "have another run when idle",
        "kill",
        "import os; os.sched_setscheduler({pid}, os.SCHED_IDLE, os.sched_param(0))",
    ),
    Attack("have another write when idle", "kill", LIBC + "call(number(251, 30), 1, {pid}, 3 << 13)"),
    Attack(
        "read another's shared memory",
        "kill",
        LIBC + "libc.shmat.restype = ctypes.c_void_p\na = libc.shmat({memory}, None, 0)\n"
        "assert a not in (None, 2 ** 64 - 1)\nctypes.memmove(a, b'taken', 5)",
    ),
    Attack("remove another's shared memory", "kill", LIBC + "call(number(31, 195), {memory}, 0, None)"),
    Attack(
        "use up another's semaphore",
        "kill",
        LIBC + "call(number(65, 193), {semaphore}, (ctypes.c_short * 3)(0, -1, 0o4000), 1)",
    ),
    Attack("remove another's semaphore", "kill", LIBC + "call(number(66, 191), {semaphore}, 0, 0, 0)"),
    Attack(
        "take another's message",
        "kill",
        LIBC + "b = ctypes.create_string_buffer(64)\ncall(number(70, 188), {messages}, b, 8, 0, 0o4000)",
    ),
    Attack("remove another's messages", "kill", LIBC + "call(number(71, 187), {messages}, 0, None)"),
    Attack("remove another's queue", "kill", LIBC + "call(number(241, 181), b'{name}')"),
    Attack("outlive the keeper", "kill", LIBC + "call(number(157, 167), 1, 0, 0, 0, 0)"),
    Attack("fork", "processes", "import os\nif os.fork() == 0: os._exit(0)"),
    Attack(
        "a daemon that outlives the run",
        "processes",
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    time.sleep(1)\n"
        "    open('{folder}/daemon', 'w').write('x')\n  os._exit(0)",
        late=True,
    ),
    Attack("a shell", "processes", "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])"),
    Attack("a shell by posix_spawn", "processes", "import os; os.posix_spawn('/bin/sh', ['sh', '-c', 'true'], {{}})"),
    Attack("a namespace of its own", "processes", LIBC + "call(number(272, 97), 0x10000000)"),
    Attack("mount", "processes", LIBC + "call(number(165, 40), b'none', b'/tmp', b'tmpfs', 0, None)"),
    Attack("chroot", "processes", "import os; os.chroot('.')"),
    Attack("become root", "processes", "import os; os.setuid(0); assert os.getuid() == 0 and open('/etc/shadow')"),
)
