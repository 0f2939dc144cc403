"""The system calls that a sandboxed program is refused, as a seccomp filter (classic BPF) packed by hand.

No libseccomp: finding one through ctypes starts a linker and costs more than the run. Everything is refused with EPERM
that leaves the process (sockets, signals, ptrace, other processes' memory), makes another (fork, exec; threads may be
made), changes the view of the file system, or reaches large parts of the kernel that no test needs. `clone3` hides its
flags behind a pointer, so it does not exist (ENOSYS: libc falls back to `clone`). Calls of another architecture kill;
x86-64's second table (x32, bit 30) is refused. The table of aarch64 is from the kernel's headers and has not been run.
"""

import platform
import struct

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD|W|ABS ...
ARCHITECTURE, NUMBER, ARGUMENT_0, ARGUMENT_1 = 4, 0, 16, 24  # offsets in struct seccomp_data (low words)
CLONE_THREAD, X32 = 0x10000, 0x40000000
OWNER_COMMANDS = (8, 10, 15)  # fcntl F_SETOWN, F_SETSIG, F_SETOWN_EX: any signal to any process, by way of a file
OWNER_REQUESTS = (0x8901, 0x8902)  # ioctl FIOSETOWN, SIOCSPGRP: the same

# The same number on every architecture.
COMMON = {
    "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438, "io_uring_setup": 425, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "open_tree": 428, "move_mount": 429, "mount_setattr": 442,
}  # fmt: skip
X86_64 = {
    "socket": 41, "connect": 42, "bind": 49, "socketpair": 53, "ptrace": 101, "process_vm_readv": 310,
    "process_vm_writev": 311, "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129,
    "rt_tgsigqueueinfo": 297, "mount": 165, "umount2": 166, "unshare": 272, "setns": 308, "bpf": 321,
    "perf_event_open": 298, "keyctl": 250, "add_key": 248, "request_key": 249, "userfaultfd": 323,
    "open_by_handle_at": 304, "init_module": 175, "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320,
    "chroot": 161, "pivot_root": 155, "shmget": 29, "semget": 64, "msgget": 68, "mq_open": 240, "memfd_create": 319,
    "fork": 57, "vfork": 58, "execve": 59, "execveat": 322,
}  # fmt: skip
AARCH64 = {
    "socket": 198, "socketpair": 199, "bind": 200, "connect": 203, "ptrace": 117, "process_vm_readv": 270,
    "process_vm_writev": 271, "kill": 129, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138,
    "rt_tgsigqueueinfo": 240, "mount": 40, "umount2": 39, "unshare": 97, "setns": 268, "bpf": 280,
    "perf_event_open": 241, "keyctl": 219, "add_key": 217, "request_key": 218, "userfaultfd": 282,
    "open_by_handle_at": 265, "init_module": 105, "finit_module": 273, "kexec_load": 104, "kexec_file_load": 294,
    "chroot": 51, "pivot_root": 41, "shmget": 194, "semget": 190, "msgget": 186, "mq_open": 180, "memfd_create": 279,
    "execve": 221, "execveat": 281,
}  # fmt: skip
# (audit architecture, refused calls, clone, clone3, fcntl, ioctl, prlimit64)
TABLES = {
    "x86_64": (0xC000003E, X86_64, 56, 435, 72, 16, 302),
    "aarch64": (0xC00000B7, AARCH64, 220, 435, 25, 29, 261),
}
UNTESTED = ("aarch64",)


def program(machine: str = "") -> bytes:
    """The filter for a machine (default: this one) as packed `struct sock_filter`; empty where no table is known."""
    if (machine or platform.machine()) not in TABLES:
        return b""
    architecture, refused, clone, clone3, fcntl, ioctl, prlimit = TABLES[machine or platform.machine()]
    code = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        *_when(JUMP_GREATER_EQUAL, X32, EPERM),
    ]
    for number in sorted({**COMMON, **refused}.values()):
        code += _when(JUMP_EQUAL, number, EPERM)
    code += _when(JUMP_EQUAL, clone3, ENOSYS)
    code += _case(clone, [(LOAD, 0, 0, ARGUMENT_0), *_when(JUMP_SET, CLONE_THREAD, ALLOW), (RETURN, 0, 0, EPERM)])
    for call, values in ((fcntl, OWNER_COMMANDS), (ioctl, OWNER_REQUESTS)):
        tests = [test for value in values for test in _when(JUMP_EQUAL, value, EPERM)]
        code += _case(call, [(LOAD, 0, 0, ARGUMENT_1), *tests, (RETURN, 0, 0, ALLOW)])
    own = [(LOAD, 0, 0, ARGUMENT_0), *_when(JUMP_EQUAL, 0, ALLOW), (RETURN, 0, 0, EPERM)]  # limits of others
    code += [*_case(prlimit, own), (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("HBBI", *line) for line in code)


Line = tuple[int, int, int, int]


def _when(test: int, value: int, verdict: int) -> list[Line]:
    """Return the verdict when the test of the loaded word holds."""
    return [(test, 0, 1, value), (RETURN, 0, 0, verdict)]


def _case(number: int, block: list[Line]) -> list[Line]:
    """Lines for one call, each path of which returns; others jump over them."""
    return [(JUMP_EQUAL, 0, len(block), number), *block]
