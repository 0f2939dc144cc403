"""What can happen, by kind."""

from chaos.faults import cluster, commands, files, processes
from chaos.faults.fault import Fault

LOCAL: tuple[Fault, ...] = (*processes.FAULTS, *files.FAULTS, *commands.FAULTS)
ALL: tuple[Fault, ...] = (*LOCAL, *cluster.FAULTS)
