"""Checks of single values of `cluster.*` that are written for Slurm or for a shell: times, memory, commands, flags."""

import re
import shlex
from collections.abc import Iterator

from sft_sweeps.ranges import Check
from sft_sweeps.slurm.cluster import minutes

MEMORY = re.compile(r"0|[1-9][0-9]*[KMGT]")
# YAML reads an unquoted 24:00:00 as 86400, which Slurm would take for minutes.
LONGEST_PLAIN_MINUTES = 599
# Flags by which a sweep is held together.
OWN_SRUN_FLAGS = frozenset(
    [
        "--output",
        "--error",
        "--ntasks",
        "--nodes",
        "--ntasks-per-node",
        "--cpus-per-task",
        "--kill-on-bad-exit",
        "--no-kill",
        "--export",
        "--overlap",
        "--label",
        "-o",
        "-e",
        "-n",
        "-N",
        "-c",
        "-K",
        "-l",
    ]
)


def time_limit(key: str, text: str) -> Iterator[str]:
    """A limit as Slurm reads it, at least a minute."""
    try:
        limit = minutes(text)
    except ValueError:
        limit = 0
    if limit < 1:
        yield f"{key}={text} is no time limit; write hours:minutes:seconds, {key}=4:00:00, or days, {key}=2-00:00:00"
    elif text.strip().isdecimal() and limit > LONGEST_PLAIN_MINUTES:
        yield (
            f"{key}={text} is {limit:,} minutes to Slurm; in a YAML file a time needs quotes, "
            f'{key.rpartition(".")[2]}: "24:00:00". If you mean minutes, write {key}={limit // 60}:{limit % 60:02}:00'
        )


def memory_size(key: str, text: str) -> Iterator[str]:
    """A size as Slurm reads it; empty asks for none."""
    if text and not MEMORY.fullmatch(text):
        yield f"{key}={text} is no size of memory; write {key}=480G, {key}=64000M, or {key}=0 for all of a node"


def gpu_type(key: str, text: str) -> Iterator[str]:
    """A type of GPU as sinfo shows it; empty is any."""
    if not re.fullmatch(r"[\w.+-]*", text):
        yield f"{key}={text} is no type; write what sinfo shows, like {key}=a100"


def module_name(key: str, text: str) -> Iterator[str]:
    """What `module load` is given; it stands in a batch script unquoted."""
    if not re.fullmatch(r"[\w./@+-]+", text):
        yield f"{key}={text} is no module; write a list of names, like {key}=[cuda/12.4]"


def shell_command(example: str) -> Check:
    """The check of a command line that a shell can take apart."""

    def check(key: str, text: str) -> Iterator[str]:
        try:
            shlex.split(text)
        except ValueError as error:
            yield f"{key}={text} is no command ({error}); write it as in a shell, e.g. {key}={example}"

    return check


def srun_flag(key: str, flag: str) -> Iterator[str]:
    """A flag of srun in one word, and none of those that this package sets."""
    name, _, value = flag.partition("=")
    if name in OWN_SRUN_FLAGS:
        yield f"{key}={flag}: sft-sweeps sets {name} itself; leave it out"
    elif not name.startswith("-") or " " in name.strip():
        joined = "--" + "=".join([*name.lstrip("-").split(), *([value] if value else [])])
        yield f"{key}={flag} is no flag of srun; write each as one entry, {key}=['{joined}']"
