"""Attempts to reach anything outside."""

from sft_sweeps.sandbox.hostile.attack import LIBC, Attack

NETWORK = (
    Attack(
        "connect over TCP",
        "net",
        LIBC + "s = call(number(41, 198), 2, 1, 0)\n"
        "a = (2).to_bytes(2, 'little') + ({port}).to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(8)\n"
        "call(number(42, 203), s, a, 16)",
    ),
    Attack(
        "send over UDP",
        "net",
        LIBC + "s = call(number(41, 198), 2, 2, 0)\n"
        "a = (2).to_bytes(2, 'little') + ({udp}).to_bytes(2, 'big') + bytes([127, 0, 0, 1]) + bytes(8)\n"
        "call(number(44, 206), s, b'{secret}', 8, 0, a, 16)\nraise SystemExit",
    ),
    Attack(
        "connect to an abstract socket",
        "net",
        LIBC + "s = call(number(41, 198), 1, 1, 0)\n"
        "a = (1).to_bytes(2, 'little') + b'\\0{name}'\ncall(number(42, 203), s, a, len(a))",
    ),
)
