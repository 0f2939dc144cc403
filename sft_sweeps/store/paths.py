"""Where logs lie."""

from pathlib import Path


def worker_log(folder: Path, kind: str, rank: int = 0) -> Path:
    """Where a rank of a job in a subject's folder writes."""
    return folder / "logs" / f"{kind}-{rank}.log"


def slurm_log(sweep: Path, number: str, rank: int = 0, stream: str = "out") -> Path:
    """What a task of a job printed before, or instead of, its own log; the batch script's is with rank 0's."""
    return sweep / "slurm" / f"{number}_{rank}_log.{stream}"
