"""Who looks after the cluster, as at every real one: nodes report what runs there, drained ones and held jobs go on."""

import threading

from chaos.world import World

EVERY_SECONDS = 15.0
OF_SLURM = ("Duplicate jobid", "Kill task failed")


def work(world: World, leaving: threading.Event) -> None:
    """From time to time, in a thread, until everybody leaves.

    A controller that was killed takes a job that ended meanwhile for running, until its node reports anew: after half
    an hour by Slurm's own clock. `reconfigure` has every node report now. What cannot be started, since its node just
    went, Slurm holds until somebody releases it.
    """
    while not leaving.wait(EVERY_SECONDS):
        world.slurm("scontrol", "reconfigure")
        resume(world)
        release(world)


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
