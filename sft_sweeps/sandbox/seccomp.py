"""The system calls that a sandboxed program is refused, as a seccomp filter (classic BPF) packed by hand.

No libseccomp: finding one through ctypes starts a linker and costs more than the run. Everything is refused with EPERM
that leaves the process (sockets, signals, ptrace, other processes' memory and priority), makes another (fork, exec;
threads may be made), changes what stands beside files' contents or the view of the file system, or reaches large parts
of the kernel that no test needs. `clone3` and `openat2` hide their flags behind a pointer, so they do not exist
(ENOSYS: libc falls back). Calls of another architecture kill; x86-64's second table (x32, bit 30) is refused. The table
of aarch64 is from the kernel's headers and has not been run.
"""

import platform
import struct
from functools import cache

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
LOAD, JUMP_EQUAL, JUMP_GREATER_EQUAL, JUMP_SET, AND, RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06  # BPF_LD|W|ABS ...
ARCHITECTURE, NUMBER, ARGUMENTS = 4, 0, (16, 24, 32)  # offsets in struct seccomp_data (low words)
CLONE_THREAD, CLONE_FILES, X32 = 0x10000, 0x400, 0x40000000
CLOSE_UNSHARE = 2  # of close_range: a thread gets open files of its own
ACCESS, TRUNCATE = 0b11, 0o1000  # of open's flags
# fcntl F_SETOWN, F_SETSIG, F_SETOWN_EX (any signal to any process, by way of a file), F_SETLEASE, F_NOTIFY
FILE_COMMANDS = (8, 10, 15, 1024, 1026)
# ioctl TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: no other is allowed (flags, owners, clones)
REQUESTS = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# prctl PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: no other is allowed, least to outlive a parent
OPTIONS = (15, 16, 0x53564D41)
Line = tuple[int, int, int, int]

# Refused calls by what they would do, each with its number on x86-64 and aarch64 (-1: not there).
CALLS = {
    # reach another machine, process or program
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "socketpair": (53, 199),
    # harm or read another process
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "perf_event_open": (298, 241), "setpriority": (141, 140), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "sched_setaffinity": (203, 122),
    "ioprio_set": (251, 30),
    # make another process
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    # change or learn what stands beside a file's content, which Landlock leaves open, or cut it (open before ABI 3)
    "chmod": (90, -1), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, -1),
    "fchown": (93, 55), "lchown": (94, -1), "fchownat": (260, 54), "utime": (132, -1), "utimes": (235, -1),
    "futimesat": (261, -1), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "setxattrat": (463, 463), "getxattr": (191, 8), "lgetxattr": (192, 9), "fgetxattr": (193, 10),
    "getxattrat": (464, 464), "listxattr": (194, 11), "llistxattr": (195, 12), "flistxattr": (196, 13),
    "listxattrat": (465, 465), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_getattr": (468, 468), "file_setattr": (469, 469), "truncate": (76, 45),
    "quotactl": (179, 60), "quotactl_fd": (443, 443), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "inotify_init": (253, -1), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "fanotify_init": (300, 262), "fanotify_mark": (301, 263),
    # memory that outlives or escapes the limits, queues and semaphores of others
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "shmdt": (67, 197), "semget": (64, 190),
    "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182), "mq_timedreceive": (243, 183), "mq_notify": (244, 184), "mq_getsetattr": (245, 185),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "fallocate": (285, 47), "io_setup": (206, 0),
    # hold files that are removed, by rules of one's own
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
    # change the view of the file system
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51),
    "pivot_root": (155, 41), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "open_tree": (428, 428), "open_tree_attr": (467, 467), "move_mount": (429, 429),
    "mount_setattr": (442, 442),
    # large parts of the kernel that no test needs
    "bpf": (321, 280), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "syslog": (103, 116), "modify_ldt": (154, -1),
}  # fmt: skip
MISSING = {"clone3": 435, "openat2": 437}  # hide their flags behind a pointer; libraries fall back to what does not
# Of these calls some arguments are refused.
CHECKED = {
    "open": (2, -1), "openat": (257, 56), "clone": (56, 220), "fcntl": (72, 25), "ioctl": (16, 29),
    "prctl": (157, 167), "prlimit64": (302, 261), "close_range": (436, 436),
}  # fmt: skip
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # the architecture to audit, the column above
UNTESTED = ("aarch64",)


def _when(test: int, value: int, verdict: int) -> list[Line]:
    """Return the verdict when the test of the loaded word holds."""
    return [(test, 0, 1, value), (RETURN, 0, 0, verdict)]


def _one_of(argument: int, values: tuple[int, ...], then: int, otherwise: int) -> list[Line]:
    """Return the one verdict where the argument is one of the values, else the other."""
    tests = [line for value in values for line in _when(JUMP_EQUAL, value, then)]
    return [(LOAD, 0, 0, ARGUMENTS[argument]), *tests, (RETURN, 0, 0, otherwise)]


def _opening(argument: int) -> list[Line]:
    """Not opened is with no right at all (3), nor to be emptied without the right to write."""
    return [
        (LOAD, 0, 0, ARGUMENTS[argument]),
        (AND, 0, 0, ACCESS),
        *_when(JUMP_EQUAL, ACCESS, EPERM),
        (JUMP_EQUAL, 1, 0, 0),
        (RETURN, 0, 0, ALLOW),
        (LOAD, 0, 0, ARGUMENTS[argument]),
        *_when(JUMP_SET, TRUNCATE, EPERM),
        (RETURN, 0, 0, ALLOW),
    ]


# Lines for one call each, every path of which returns.
BLOCKS: dict[str, list[Line]] = {
    "open": _opening(1),
    "openat": _opening(2),
    "clone": [  # threads alone, which have no open files of their own
        (LOAD, 0, 0, ARGUMENTS[0]),
        (JUMP_SET, 1, 0, CLONE_THREAD),
        (RETURN, 0, 0, EPERM),
        *_when(JUMP_SET, CLONE_FILES, ALLOW),
        (RETURN, 0, 0, EPERM),
    ],
    "fcntl": _one_of(1, FILE_COMMANDS, EPERM, ALLOW),
    "ioctl": _one_of(1, REQUESTS, ALLOW, EPERM),
    "prctl": _one_of(0, OPTIONS, ALLOW, EPERM),
    "prlimit64": _one_of(0, (0,), ALLOW, EPERM),
    "close_range": [(LOAD, 0, 0, ARGUMENTS[2]), *_when(JUMP_SET, CLOSE_UNSHARE, EPERM), (RETURN, 0, 0, ALLOW)],
}


@cache
def program(machine: str = "") -> bytes:
    """The filter for a machine (default: this one) as packed `struct sock_filter`; empty where no table is known."""
    if (machine or platform.machine()) not in MACHINES:
        return b""
    architecture, column = MACHINES[machine or platform.machine()]
    code = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        *_when(JUMP_GREATER_EQUAL, X32, EPERM),
    ]
    for name, block in BLOCKS.items():
        if (number := CHECKED[name][column]) >= 0:
            code += [(JUMP_EQUAL, 0, len(block), number), *block]
    for number in sorted(numbers[column] for numbers in CALLS.values()):
        if number >= 0:
            code += _when(JUMP_EQUAL, number, EPERM)
    for number in MISSING.values():
        code += _when(JUMP_EQUAL, number, ENOSYS)
    return b"".join(struct.pack("HBBI", *line) for line in [*code, (RETURN, 0, 0, ALLOW)])
