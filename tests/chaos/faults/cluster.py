"""What befalls a Slurm and its jobs."""

from collections.abc import Callable

from chaos import caretaker
from chaos.faults.fault import Chance, Fault, Lasting
from chaos.world import NODES, World

SLURMCTLD = frozenset({"slurmctld restarted"})  # meanwhile nobody answers, and asking takes long


def _running(world: World) -> list[str]:
    """Jobs of users, by their calls' names."""
    text = world.slurm("squeue", "-h", "-r", "-t", "RUNNING", "-p", "low", "-o", "%j %i")
    return [line.rpartition(" ")[2] for line in sorted(text.splitlines())]


def _of_job(*command: str) -> Callable[[World, Chance], Lasting | None]:
    def strike(world: World, chance: Chance) -> Lasting | None:
        if not (found := _running(world)):
            return None
        job = chance.of(found)
        world.slurm(*command, job)
        return Lasting(f"job {job}")

    return strike


def _preempt(world: World, chance: Chance) -> Lasting | None:
    """A job of a partition that goes before takes a whole node."""
    if world.cluster is None or not _running(world):
        return None
    node, log = chance.of(NODES), f"--output={world.cluster.folder}/log/%j.out"
    world.slurm("sbatch", "-p", "main", "-w", node, "--exclusive", log, "--wrap", "sleep 1")
    return Lasting(node)


def _controller(world: World, chance: Chance) -> Lasting | None:
    caretaker.stop(world, caretaker.CONTROLLER, "KILL" if chance.first < 0.5 else "TERM")
    what = "killed" if chance.first < 0.5 else "ended"
    return Lasting(what, lambda: caretaker.start(world, caretaker.CONTROLLER))


def _daemon(world: World, chance: Chance) -> Lasting | None:
    node = chance.of(NODES)
    caretaker.stop(world, f"slurmd.{node}", "KILL" if chance.second < 0.5 else "TERM")

    def heal() -> None:
        caretaker.start(world, f"slurmd.{node}")
        _back(world, node)

    return Lasting(node, heal)


def _node_down(world: World, chance: Chance) -> Lasting | None:
    node = chance.of(NODES)
    world.slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=chaos")
    return Lasting(node, lambda: _back(world, node))


def _back(world: World, node: str) -> None:
    """As an operator does it: what Slurm held because its node failed is released."""
    world.slurm("scontrol", "update", f"nodename={node}", "state=resume")
    caretaker.release(world)


NODE = frozenset({"slurmd restarted", "node down", *SLURMCTLD})
FAULTS = (
    Fault("requeued", "scontrol requeue", _of_job("scontrol", "requeue"), excludes=SLURMCTLD),
    Fault("warned", "USR2, as before a time limit", _of_job("scancel", "--signal=USR2"), excludes=SLURMCTLD),
    Fault("scancelled", "scancel by somebody else", _of_job("scancel"), excludes=SLURMCTLD),
    Fault("preempted", "a job that goes before takes a node", _preempt, excludes=SLURMCTLD),
    Fault(
        "slurmctld restarted",
        "the controller is ended or killed, and back after a while",
        _controller,
        (1.0, 5.0),
        NODE,
    ),
    Fault("slurmd restarted", "a node's daemon is ended or killed, and back after a while", _daemon, (1.0, 5.0), NODE),
    Fault("node down", "scontrol update state=down, and back after a while", _node_down, (1.0, 5.0), NODE),
)
