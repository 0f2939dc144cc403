"""The layers that this machine offers, what they give, and refusing to run without what is required."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cache

from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import seccomp, system
from sft_sweeps.sandbox.servers import Servers
from sft_sweeps.sandbox.task import Task, request

# What gives each property: any one of these sets of layers.
PROPERTIES: Mapping[str, Sequence[Sequence[str]]] = {
    "fs": (("landlock", "seccomp"), ("bubblewrap",)),
    "net": (("seccomp",), ("bubblewrap",)),
    "kill": (("seccomp",), ("bubblewrap",)),
    # Another user, Landlock and bubblewrap keep a program from the memory of the process that has the checks.
    "forge": (("strict", "user"), ("strict", "landlock"), ("strict", "bubblewrap")),
    "names": (("bubblewrap",),),
}
DEFAULT_REQUIRE = ("fs", "net", "kill")
LACKS = {
    "fs": "can read and change your files (keys, too) and read your processes' environments",
    "net": "can use the network",
    "kill": "can harm your other processes",
}
PROBE_SECONDS = 15.0
MODES = ("auto", "kernel", "seccomp", "landlock", "bubblewrap", "none")  # of Isolation.mode


@cache
def available(mode: str = "auto", accept: bool = False) -> tuple[str, ...]:
    """The layers that runs are put behind; RunError where there is none and `accept` does not say that it is meant.

    `mode` is `auto` (all that work here), `kernel` (the same without bubblewrap), one of the layers (that one alone,
    for machines where another misbehaves), or `none`.
    """
    wanted = {"auto": ("seccomp", "landlock", "bubblewrap"), "kernel": ("seccomp", "landlock")}.get(mode, (mode,))
    working = tuple(layer for layer in wanted if mode != "none" and _works(layer))
    if mode not in ("auto", "kernel", "none") and not working:
        raise RunError(f"sandbox.isolation={mode} does not work on this machine; see `sft-sweeps doctor sandbox`")
    if not working and not accept:
        raise RunError(
            "programs that a model wrote would run without isolation here (no seccomp, Landlock or bubblewrap). "
            "If that is meant, type sandbox.i_accept_running_untrusted_code=true"
        )
    return working


@cache
def _works(layer: str) -> bool:
    """Whether a run behind this layer alone comes to its end."""
    if layer == "seccomp" and not seccomp.program():
        return False
    if layer == "bubblewrap" and shutil.which("bwrap") is None:
        return False
    return works_now((layer,))


def works_now(layers: Sequence[str]) -> bool:
    """Whether a program that does nothing comes to its end behind these layers, now."""
    nonce = "probe"
    try:
        with Servers() as servers, servers.lent(layers) as server:
            said = server.answer(request(Task("", ""), nonce, "probe", layers), PROBE_SECONDS)
    except OSError:
        return False
    return said == b":" + nonce.encode()


def describe(isolation: Isolation) -> list[str]:
    """The active layers, for records and for users."""
    user = ("user",) if system.drops_to() else ()
    return ["limits", *user, *available(isolation.mode, isolation.accept), *(("strict",) if isolation.strict else ())]


def lacking(isolation: Isolation, properties: Sequence[str] | None = None) -> list[str]:
    """Properties (those that are required) that no active layer gives."""
    active = set(describe(isolation))
    wanted = isolation.require if properties is None else properties
    return [name for name in wanted if not any(active.issuperset(layers) for layers in PROPERTIES[name])]


def check(isolation: Isolation) -> None:
    """RunError unless every required property is there; one line on standard error for what is there in no way."""
    active = ", ".join(describe(isolation))
    if missing := lacking(isolation):
        offers = "; ".join(f"{name} needs {_offers(name)}" for name in missing)
        raise RunError(
            f"the sandbox has no {', '.join(missing)} on this machine ({offers}); active: {active}. "
            "See `sft-sweeps doctor sandbox`, or require less: sandbox.require=[...]"
        )
    if missing := lacking(isolation, DEFAULT_REQUIRE):
        what = ", ".join(LACKS[name] for name in missing)
        _warn(f"WARNING: sandbox without {', '.join(missing)}: programs that a model wrote {what}; active: {active}")


@cache
def _warn(text: str) -> None:
    """Say it once."""
    print(text, file=sys.stderr, flush=True)


def _offers(name: str) -> str:
    return ", or ".join(" and ".join(layers) for layers in PROPERTIES[name])
