"""What the sandbox holds on this machine: its layers, the properties that they give, and every attack run for real."""

import platform
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import attacks, layers, seccomp
from sft_sweeps.sandbox.attacks import Result
from sft_sweeps.sandbox.hostile.attack import Attack

HELP = {
    "seccomp": "a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64",
    "landlock": "a kernel of 5.13 or newer with landlock in its list of security modules",
    "bubblewrap": "install bubblewrap (bwrap) and allow user namespaces; the other layers hold without it",
}


def asked(_: DoctorRequest) -> Iterator[Finding]:
    """As `findings`: whatever else was asked."""
    return findings()


def findings() -> Iterator[Finding]:
    """The layers; every attack with all layers on, plain and strict; and again without bubblewrap, which nodes lack."""
    isolation = Isolation()
    try:
        active = layers.available()
    except RunError as error:
        yield Finding("problem", "layers", str(error), "run evaluation on a Linux machine with one of the layers")
        return
    for layer, needs in HELP.items():
        if layer in active:
            yield Finding("ok", layer, "active")
        else:
            yield Finding("warning", layer, "does not work here", needs)
    if platform.machine() in seccomp.UNTESTED:
        yield Finding("warning", "seccomp", f"the table for {platform.machine()} has not been tested by us")
    for name in layers.PROPERTIES:
        if layers.lacking(replace(isolation, strict=True), (name,)):
            level: Literal["warning", "problem"] = "problem" if name in layers.DEFAULT_REQUIRE else "warning"
            yield Finding(level, name, "no active layer gives it", f"leave {name} out of sandbox.require")
    yield from _attacked(isolation, "")
    yield _known_limit(isolation)
    if "bubblewrap" in active and len(active) > 1:
        yield from _attacked(replace(isolation, mode="kernel"), "without bubblewrap")
        yield Finding(
            "warning", "names", "without bubblewrap: stat tells whether others have a file of a name, and its size"
        )


def _attacked(isolation: Isolation, how: str) -> Iterator[Finding]:
    """Every attack, plain and strict."""
    for strict in (False, True):
        label = ", ".join(filter(None, (how, "strict" * strict)))
        for finding in map(_finding, attacks.suite(replace(isolation, strict=strict))):
            yield replace(finding, about=f"{finding.about} ({label})") if label else finding


def _finding(result: Result) -> Finding:
    attack = result.attack
    if result.held:
        return Finding("ok", attack.property, f"{attack.name}: held ({result.reason[:60]})")
    return Finding(
        "problem", attack.property, f"{attack.name}: GOT THROUGH ({result.reason[:60]})", "see sandbox.require"
    )


def _known_limit(isolation: Isolation) -> Finding:
    """Say what a run that is not strict cannot hold, having seen it."""
    (attack,) = (each for each in attacks.ATTACKS if "frames" in each.name)
    with attacks.victims() as victims:
        result = attacks.run(plainly(attack), victims, isolation)
    text = "held" if result.held else "a pass can be forged by a program that looks for the nonce in stack frames"
    return Finding("warning", "forge", f"without sandbox.strict: {text}", "sandbox.strict=true runs checks apart")


def plainly(attack: Attack) -> Attack:
    """The attack in a run that is not strict."""
    return replace(attack, strict=False)
