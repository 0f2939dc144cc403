"""Who looks after the cluster, as at every real one.

Nodes report what runs there, drained ones and held jobs go on, daemons that ended by themselves are started again.
"""

import threading

from chaos.world import NODES, World

EVERY_SECONDS = 15.0
CONTROLLER = "slurmctld"
OF_SLURM = ("Duplicate jobid", "Kill task failed")


def work(world: World, leaving: threading.Event) -> None:
    """From time to time, in a thread, until everybody leaves.

    A controller that was killed takes a job that ended meanwhile for running, until its node reports anew: after half
    an hour by Slurm's own clock. `reconfigure` has every node report now. What cannot be started, since its node just
    went, Slurm holds until somebody releases it.
    """
    while not leaving.wait(EVERY_SECONDS):
        revive(world)
        world.slurm("scontrol", "reconfigure")
        resume(world)
        release(world)


def stop(world: World, daemon: str, signal: str) -> None:
    """End a daemon, which stays down until `start`; one that had ended by itself stays down too."""
    assert world.cluster is not None
    with world.operating:
        world.stopped.add(daemon)
        if world.cluster.lives(daemon):
            world.cluster.stop(daemon, signal)


def start(world: World, daemon: str) -> None:
    """Bring a daemon back that was stopped."""
    with world.operating:
        world.stopped.discard(daemon)
        _start_missing(world)


def revive(world: World) -> None:
    """Start what has ended by itself, as a service manager does.

    Slurm 22.05's controller was seen to crash (a null pointer) when a node registered.
    """
    with world.operating:
        for daemon in _start_missing(world):
            world.log.say(f"{daemon} had ended by itself, and was started again")


def _start_missing(world: World) -> list[str]:
    """Every daemon that no fault keeps down runs afterwards; those that did not."""
    assert world.cluster is not None
    if CONTROLLER in world.stopped:
        return []  # a node's daemon could not register
    daemons = [CONTROLLER, *(f"slurmd.{node}" for node in NODES)]
    missing = [one for one in daemons if one not in world.stopped and not world.cluster.lives(one)]
    for daemon in missing:
        world.cluster.start(daemon)
    return missing


def resume(world: World) -> None:
    """Take nodes back that Slurm drained by itself, when its daemons lost sight of a job as they were killed."""
    for line in world.slurm("sinfo", "-h", "-R", "-o", "%N|%E").splitlines():
        node, _, reason = line.partition("|")
        if reason in OF_SLURM:
            world.slurm("scontrol", "update", f"nodename={node}", "state=resume")


def release(world: World) -> None:
    """Release what Slurm has put on hold."""
    for line in world.slurm("squeue", "-h", "-r", "-t", "PENDING", "-o", "%i %r").splitlines():
        number, _, reason = line.partition(" ")
        if "held" in reason.lower():
            world.slurm("scontrol", "release", number)
