"""The filter of system calls, interpreted here: what it does to calls that we do not make, on other machines too."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.sandbox import seccomp


def simulate(code, machine_arch, number, arguments):
    """What the kernel would do: the filter over one call's data."""
    data = struct.pack("<iIQ", number & 0xFFFFFFFF if number < 2**31 else number - 2**32, machine_arch, 0)
    data += struct.pack("<6Q", *arguments)
    lines, place, loaded = [struct.unpack_from("HBBI", code, at) for at in range(0, len(code), 8)], 0, 0
    while True:
        kind, then, otherwise, value = lines[place]
        place += 1
        if kind == seccomp.AND:
            loaded &= value
        elif kind == seccomp.LOAD:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif kind == seccomp.RETURN:
            return value
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[kind]
            place += then if holds else otherwise


NO = (0,) * 6
FLAGS = st.integers(0, 2**32 - 1)


def verdict(machine, name, *arguments):
    """What happens to a call by its name."""
    arch, column = seccomp.MACHINES[machine]
    number = {**seccomp.CALLS, **seccomp.CHECKED}[name][column]
    return simulate(CODE[machine], arch, number, (*arguments, *NO)[:6])


CODE = {machine: seccomp.program(machine) for machine in seccomp.MACHINES}


@pytest.mark.parametrize("machine", seccomp.MACHINES)
def test_the_filter_refuses_what_its_table_says(machine):
    """So that the table of a machine that we do not have is at least well-formed."""
    arch, column = seccomp.MACHINES[machine]
    code = CODE[machine]
    for name, numbers in seccomp.CALLS.items():
        if (number := numbers[column]) >= 0:
            assert simulate(code, arch, number, NO) == seccomp.EPERM, name
            assert simulate(code, arch, number | 0x40000000, NO) == seccomp.EPERM, name
    for name, number in seccomp.MISSING.items():
        assert simulate(code, arch, number, NO) == seccomp.ENOSYS, name
    assert simulate(code, arch ^ 1, 0, NO) == seccomp.KILL
    allowed = sum(simulate(code, arch, number, NO) == seccomp.ALLOW for number in range(400))
    assert 230 < allowed < 320


@pytest.mark.parametrize("machine", seccomp.MACHINES)
def test_numbers_are_of_one_call_each(machine):
    column = seccomp.MACHINES[machine][1]
    numbers = [row[column] for row in (*seccomp.CALLS.values(), *seccomp.CHECKED.values()) if row[column] >= 0]
    assert len(numbers) == len({*numbers, *seccomp.MISSING.values()}) - len(seccomp.MISSING)


@pytest.mark.parametrize("machine", seccomp.MACHINES)
@given(flags=FLAGS)
def test_a_file_is_emptied_only_by_who_may_write_it(machine, flags):
    """Landlock knows truncation from its third version, and the access mode 3 needs none of its rights."""
    refused = flags & 3 == 3 or (flags & 3 == 0 and flags & 0o1000)
    assert verdict(machine, "openat", 5, 5, flags) == (seccomp.EPERM if refused else seccomp.ALLOW)
    if machine == "x86_64":
        assert verdict(machine, "open", 5, flags) == (seccomp.EPERM if refused else seccomp.ALLOW)


@pytest.mark.parametrize("machine", seccomp.MACHINES)
@given(flags=FLAGS)
def test_threads_alone_are_made_and_share_their_files(machine, flags):
    thread = flags & 0x10000 and flags & 0x400
    assert verdict(machine, "clone", flags) == (seccomp.ALLOW if thread else seccomp.EPERM)
    assert verdict(machine, "clone", 0x3D0F00) == seccomp.ALLOW


@pytest.mark.parametrize("machine", seccomp.MACHINES)
@given(value=st.integers(0, 2**32 - 1) | st.integers(0, 64))
def test_few_controls_are_left(machine, value):
    """Of a process (prctl), of a device or file (ioctl), of limits (prlimit): what is not named is refused."""
    assert (verdict(machine, "prctl", value) == seccomp.ALLOW) == (value in (15, 16, 0x53564D41))
    known = (0x5401, 0x802C542A, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
    assert (verdict(machine, "ioctl", 0, value) == seccomp.ALLOW) == (value in known)
    assert (verdict(machine, "prlimit64", value) == seccomp.ALLOW) == (value == 0)
    assert (verdict(machine, "close_range", 0, 9, value) == seccomp.EPERM) == bool(value & 2)
    assert (verdict(machine, "fcntl", 0, value) == seccomp.EPERM) == (value in (8, 10, 15, 1024, 1026))


def test_no_filter_for_an_unknown_machine():
    assert seccomp.program("riscv64") == b""
