"""Of a job that failed: the last lines of its log, and what to type."""

import re
from pathlib import Path
from typing import Any

from sft_sweeps.config import site
from sft_sweeps.files.json_files import last_lines
from sft_sweeps.jobs.ended import log_of
from sft_sweeps.jobs.evidence import JobStatus
from sft_sweeps.jobs.status import SweepStatus
from sft_sweeps.plan.build import Subject
from sft_sweeps.store.resume_states import resume_step

FAILED = ("failed", "corrupted")
LINES, BYTES = 3, 4096  # of a log's end
SHOWN = 50  # lines that `logs` is asked for
KEY = re.compile(r"[a-z]+\.[a-z_]+")  # of the configuration
# What as a rule helps against what a reason says, where the reason itself does not name it.
HELP = (
    (r"out of GPU memory|CUDA out of memory", "with deepspeed.recompute=true or deepspeed=zero3_offload"),
    (r"SIGKILL|used more memory", "with more memory (cluster.memory), or fewer jobs at once (cluster.jobs)"),
    (r"time limit", "with a longer cluster.time"),
    (r"\bnan\b|diverged|infinite", "with a smaller train.learning_rate, which makes another stage"),
    (r"No space left|Disk quota|make room", "after making room: sft-sweeps du says where it went"),
)


def of(job: JobStatus, kind: str, subject: Subject, found: SweepStatus, sweep: str) -> dict[str, Any]:
    """`log`, its last lines as `log_tail`, and `hint`; empty where nothing failed."""
    if job.state not in FAILED:
        return {"log": "", "log_tail": [], "hint": ""}
    store = found.survey.store
    folder = store.folder(subject)
    log = log_of(kind, folder, store.root / "sweeps" / sweep, job.job)
    looking = [site.command(store.root, "logs", subject.id, "--lines", str(SHOWN))] if log else []
    hint = "; then ".join([*looking, _again(job, subject, folder)])
    return {"log": str(log or ""), "log_tail": tail(log) if log else [], "hint": hint}


def tail(log: Path) -> list[str]:
    """The last lines of a log that hold anything; of a line that was drawn over, what is seen."""
    lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in last_lines(log, BYTES))
    return [line for line in lines if line.strip()][:LINES][::-1]


def _again(job: JobStatus, subject: Subject, folder: Path) -> str:
    """How to go on, and with what changed."""
    step = resume_step(folder) if subject.chain else 0
    again = f"launch the sweep again: it continues from step {step:,}" if step else "launch the sweep again"
    help_ = next((words for pattern, words in HELP if re.search(pattern, job.why, re.IGNORECASE)), "")
    said = job.state == "corrupted" or any(key in job.why for key in KEY.findall(help_))
    return again if said or not help_ else f"{again} {help_}"
