"""What a Slurm cluster allows and has: limits, partitions, nodes; and how Slurm's commands are asked.

Every answer is the text of one of Slurm's own commands, in formats that versions 20.11 to 25 share.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sft_sweeps.errors import RunError

TIMEOUT = 60  # seconds; Slurm's commands themselves give up after about ten
UNUSABLE = ("down", "drain", "fail", "error", "unknown", "future", "inval")
# What a user set for his own screen would filter or reshape the answers.
OTHERS_WISHES = ("SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_", "SCANCEL_", "SLURM_TIME_FORMAT", "SLURM_BITSTR_LEN")
ELSEWHERE = ("SLURM_CLUSTERS", "SBATCH_CLUSTERS")  # other clusters than the one of slurm.conf, which all is asked of


@dataclass(frozen=True)
class Limits:
    """What the controller's configuration allows."""

    version: str
    cluster: str
    max_array_size: int  # indices of an array are below it
    max_array_tasks: int  # elements in one array
    kill_wait: int  # seconds between TERM and KILL at the time limit
    min_job_age: int  # seconds that an ended job stays in the queue's answer
    requeue: bool  # jobs may be requeued unless they say otherwise
    preempt_type: str  # "" where nothing is preempted
    preempt_mode: str  # REQUEUE, CANCEL, SUSPEND ...; partitions may differ
    preempt_signal: bool  # the warning signal comes at preemption too
    accounting: bool
    kill_invalid_depend: bool  # jobs whose dependency failed are cancelled even if they do not ask for it
    private_jobs: bool  # users see only their own jobs
    enforces_limits: bool = False  # jobs over a limit of their account or quality of service are refused


@dataclass(frozen=True)
class PartitionPolicy:
    """What a partition says for itself."""

    preempt_mode: str  # REQUEUE, CANCEL ...; "" or OFF: its jobs are not preempted
    qos: str  # whose limits all of its jobs are under; "": none
    default: bool = False  # of jobs that name no partition


@dataclass(frozen=True)
class NodeKind:
    """Nodes of a partition that are alike."""

    count: int  # usable: neither down nor drained
    down: int
    cpus: int
    memory_mb: int
    gpus: int
    gpu_type: str  # "" where the site names none; of the most frequent type where a node mixes them
    features: tuple[str, ...]


@dataclass(frozen=True)
class Partition:
    """A partition and its nodes."""

    name: str
    default: bool
    up: bool  # takes and starts jobs
    minutes: int | None  # longest time limit; None: unlimited
    nodes: tuple[NodeKind, ...]


def limits() -> Limits:
    """The controller's limits. RunError where it does not answer."""
    return parse_limits(ask("scontrol", "show", "config"))


def partitions() -> tuple[Partition, ...]:
    """All partitions. RunError where the controller does not answer."""
    return parse_partitions(ask("sinfo", "--all", "--noheader", "--exact", "--format", "%P|%a|%l|%D|%c|%m|%G|%T|%f"))


def policies() -> dict[str, PartitionPolicy]:
    """By the partition's name. RunError where the controller does not answer."""
    return dict(parse_policies(ask("scontrol", "--oneliner", "--all", "show", "partitions")))


def policies_of(named: str, known: Mapping[str, PartitionPolicy]) -> dict[str, PartitionPolicy]:
    """Of the partitions that a job names, as sbatch takes them (several, with commas; none: the default one)."""
    names = named.split(",") if named else [name for name, policy in known.items() if policy.default]
    return {name: known[name] for name in names if name in known}


def parse_policies(text: str) -> Iterator[tuple[str, PartitionPolicy]]:
    """In scontrol's answer, one line for each partition."""
    for line in text.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if name := fields.get("PartitionName"):
            mode, qos = (fields.get(key, "") for key in ("PreemptMode", "QoS"))
            yield (
                name,
                PartitionPolicy(mode.upper(), "" if qos in ("N/A", "(null)") else qos, fields.get("Default") == "YES"),
            )


def minutes(text: str) -> int:
    """Slurm's time formats ("90", "30:00", "1:30:00", "2-00", "2-00:00:00") in minutes, rounded up as Slurm does."""
    return -(-seconds(text) // 60)


def seconds(text: str) -> int:
    """The same in seconds. ValueError where it is none of the formats."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is not a time; Slurm's are minutes, M:S, H:M:S, D-H, D-H:M and D-H:M:S")
    days, *parts = (None if part is None else int(part) for part in match.groups())
    first, second, third = parts
    if days is None and third is None:  # without days, the shorter forms begin with minutes
        first, second, third = 0, first, second
    return (((days or 0) * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)


def duration(text: str) -> int | None:
    """None for UNLIMITED, INVALID, NOT_SET and the like."""
    try:
        return seconds(text)
    except ValueError:
        return None


def ask(*command: str) -> str:
    """What a command prints. RunError with its own words where it is missing, fails or hangs."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith((*OTHERS_WISHES, *ELSEWHERE))}
    environment |= {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise RunError(f"{command[0]} is not on PATH: this machine cannot talk to Slurm") from error
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:  # ValueError: a word that no command can be given
        raise RunError(f"{command[0]} gave no answer: {error}") from error
    # squeue calls a user whom it cannot look up a success without jobs.
    if done.returncode or b"Invalid user" in done.stderr:
        words = " ".join((done.stderr or done.stdout).decode(errors="replace").split())
        raise RunError(f"{' '.join(command[:3])}: {words or f'exit status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def parse_limits(text: str) -> Limits:
    """The limits in the answer of `scontrol show config`."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals:
            settings.setdefault(key.strip(), value.strip())

    def text_of(key: str) -> str:
        return "" if settings.get(key, "") in ("(null)", "N/A") else settings.get(key, "")

    def number(key: str, default: int) -> int:
        digits = re.match(r"\d+", text_of(key))
        return int(digits[0]) if digits else default

    scheduler = text_of("SchedulerParameters")
    size = number("MaxArraySize", 1001)
    tasks = re.search(r"\bmax_array_tasks=(\d+)", scheduler)
    return Limits(
        version=text_of("SLURM_VERSION"),
        cluster=text_of("ClusterName"),
        max_array_size=size,
        max_array_tasks=min(size, int(tasks[1])) if tasks else size,
        kill_wait=number("KillWait", 30),
        min_job_age=number("MinJobAge", 300),
        requeue=text_of("JobRequeue") != "0",
        preempt_type=text_of("PreemptType").removeprefix("preempt/").replace("none", ""),
        preempt_mode=text_of("PreemptMode").upper(),
        preempt_signal="send_user_signal" in text_of("SlurmctldParameters") + text_of("PreemptParameters"),
        accounting=text_of("AccountingStorageType").removeprefix("accounting_storage/") not in ("", "none"),
        kill_invalid_depend="kill_invalid_depend" in text_of("DependencyParameters") + scheduler,
        private_jobs="jobs" in text_of("PrivateData").split(","),
        enforces_limits=bool({"limits", "safe", "all"} & set(text_of("AccountingStorageEnforce").split(","))),
    )


def parse_partitions(text: str) -> tuple[Partition, ...]:
    """The partitions in sinfo's answer: one line for each partition, kind of node and state."""
    heads: dict[str, tuple[bool, str, str]] = {}
    counts: dict[str, dict[NodeKind, list[int]]] = {}
    for line in text.splitlines():
        if line.count("|") < 8:  # "CLUSTER: name", where SLURM_CLUSTERS is set
            continue
        shown, up, limit, count, cpus, memory, gres, state, features = line.split("|", 8)
        name = shown.removesuffix("*")
        heads[name] = (shown != name, up, limit)
        kinds = counts.setdefault(name, {})
        if int(count):
            tags = () if features == "(null)" else tuple(features.split(","))
            kind = NodeKind(0, 0, int(cpus.rstrip("+")), int(memory.rstrip("+")), *_gpus(gres), tags)
            kinds.setdefault(kind, [0, 0])[not _usable(state)] += int(count)
    return tuple(
        Partition(name, default, up == "up", _limit(limit), tuple(_count(counts[name])))
        for name, (default, up, limit) in heads.items()
    )


def _count(kinds: dict[NodeKind, list[int]]) -> Iterator[NodeKind]:
    for kind, (usable, down) in kinds.items():
        yield NodeKind(usable, down, kind.cpus, kind.memory_mb, kind.gpus, kind.gpu_type, kind.features)


def _usable(state: str) -> bool:
    """`*` marks a node that does not respond; a powered-down one (`~`) is woken by a job."""
    return not state.startswith(UNUSABLE) and not state.endswith("*")


def _limit(text: str) -> int | None:
    length = duration(text)
    return None if length is None else -(-length // 60)


def _gpus(gres: str) -> tuple[int, str]:
    """`gpu:a100:8(S:0-1),shard:64`: 8 of a100."""
    counts = [(int(n), kind or "") for kind, n in re.findall(r"(?:^|,)gpu:(?:([^:,()]+):)?(\d+)(?![^,(])", gres)]
    return max(counts, default=(0, ""), key=lambda count: count[0])
