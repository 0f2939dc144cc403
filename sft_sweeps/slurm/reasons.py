"""Slurm's words for why a job waits or has ended, as a user understands them; Slurm's own stand in brackets."""

import re
from signal import Signals, strsignal

WAITING = {
    "": "just submitted",
    "None": "just submitted",
    "Priority": "others come first",
    "Resources": "until nodes are free",
    "Dependency": "after its parent",
    "DependencyNeverSatisfied": "it cannot start: its parent failed",
    "BeginTime": "starts again in a moment",
    "Cleaning": "until its last start has left the nodes",
    "JobArrayTaskLimit": "as many as cluster.max_running allows are running",
    "JobHeldUser": "held by its owner; release it with scontrol release",
    "JobHeldAdmin": "held by the administrator, or by Slurm after a start that failed",
    "launch failed requeued held": "held by Slurm after a start that failed; release it with scontrol release",
    "Licenses": "until licenses are free",
    "Reservation": "until its reservation begins",
    "ReqNodeNotAvail, Reserved for maintenance": (
        "a maintenance reservation: it starts afterwards, or before where its time limit is shorter; see cluster.time"
    ),
    "ReqNodeNotAvail, May be reserved for other job": "nodes that it needs are reserved for another job",
    "ReqNodeNotAvail": "nodes that it needs are down or reserved",
    "Nodes required for job are DOWN": "nodes that it needs are down or reserved",
    "NodeDown": "nodes that it needs are down",
    "BadConstraints": "it cannot start: no node has what it asks for; see cluster.constraint, cluster.gpu_type",
    "PartitionNodeLimit": "it asks for more nodes or GPUs than its partition gives",
    "PartitionTimeLimit": "it asks for more time than its partition gives; see cluster.time",
    "PartitionDown": "its partition is closed for now",
    "PartitionInactive": "its partition is closed for now",
    "AccountNotAllowed": "its account may not use its partition; see cluster.account",
    "InvalidAccount": "its account is not valid; see cluster.account",
    "InvalidQOS": "its quality of service is not valid; see cluster.qos",
    "QOS": "a limit of its quality of service is reached",
    "MaxQOS": "a limit of its quality of service is reached",
    "Assoc": "a limit of your account is reached",
    "MaxCpuPerAccount": "a limit of your account is reached",
}
MEMORY = "it used more memory than it had asked for"
ENDS = {
    "TIMEOUT": "its time limit came before it had saved and left",
    "DEADLINE": "its deadline came",
    "OUT_OF_MEMORY": MEMORY,
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "LAUNCH_FAILED": "it could not be started",
    "PREEMPTED": "it was preempted and not put back into the queue",
    "CANCELLED": "it was cancelled",
    "COMPLETED": "it ended without a record",
    "FAILED": "it failed and left no reason",
}
LOST = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL")  # ends that are no fault of the job's
# What as a rule is behind the end of a task by a signal.
BEHIND = {
    "SIGKILL": "as a rule the node had no memory left",
    "SIGBUS": "as a rule /dev/shm or a disk was full",
    "SIGILL": "the node's processor lacks what a library was built for",
}
# srun's words for a task that a signal ended; one that was started through a shell or in a container has a status.
SIGNALS = {strsignal(one): one.name for one in Signals} | {"Out Of Memory": "SIGKILL"}
SIGNALS |= {f"Exited with exit code {128 + one}": one.name for one in Signals}
# A rank aborts when it has lost a peer, and Slurm terminates those that are left.
FOLLOWING = ("SIGABRT", "SIGTERM")
TASK_ENDED = re.compile(r"^srun: error: (\S+): tasks? ([\d,-]+): (.+?)(?: \(core dumped\))?$", re.MULTILINE)
# What slurmstepd says where a cgroup holds a job to its memory; srun may say no more than "Killed" then.
OUT_OF_MEMORY = re.compile(r"^slurmstepd: error: .*(oom[-_ ]?kill|out[- ]of[- ]memory|memory limit)", re.M | re.I)
START = "sft-sweeps: start"  # begins the line that a batch script prints first: the log has every start of its job


def task_ended(log: str, out_of_memory: bool = False) -> str:
    """Which rank a signal ended first, by what srun says of its tasks in a job's log; empty where none was.

    Of the last start in the log. `out_of_memory`: Slurm has called it that.
    """
    text = log.replace("\r", "").rpartition(f"{START} ")[2]
    ends = [(node, ranks, words) for node, ranks, words in TASK_ENDED.findall(text) if words in SIGNALS]
    ends.sort(key=lambda end: SIGNALS[end[2]] in FOLLOWING)
    if not ends:
        return ""
    node, ranks, words = ends[0]
    memory = out_of_memory or words == "Out Of Memory" or OUT_OF_MEMORY.search(text)
    behind = MEMORY if memory and SIGNALS[words] == "SIGKILL" else BEHIND.get(SIGNALS[words], "")
    who = f"rank {ranks} was" if ranks.isdigit() else f"ranks {ranks} were"
    return f"{who} killed by {SIGNALS[words]} on {node}{f': {behind}' if behind else ''}"


def waiting(reason: str) -> str:
    """Why a job is pending."""
    longest = max((key for key in WAITING if key and reason.startswith(key)), key=len, default="")
    words = WAITING[longest] if longest or not reason else "waits"
    return f"{words} ({reason})" if reason else words


def ended(state: str, exit_code: str = "") -> str:
    """How a job has ended that left no word of its own; `exit_code` is the accounting's "status:signal"."""
    code = f", exit code {exit_code}" if exit_code not in ("", "0:0") else ""
    return f"{ENDS.get(state, 'it ended')} ({state}{code})"
