"""Where logs lie."""

from pathlib import Path

from sft_sweeps.files import private


def worker_log(folder: Path, kind: str, rank: int = 0) -> Path:
    """Where a rank of a job in a subject's folder writes."""
    return folder / "logs" / f"{kind}-{rank}.log"


def slurm_log(sweep: Path, number: str, rank: int = 0, stream: str = "out") -> Path:
    """What a task of a job printed before, or instead of, its own log; the batch script's is with rank 0's."""
    name = f"{number}_{rank}_log.{stream}"
    places = [folder / name for folder in private.folders(sweep, "slurm")]
    return next((path for path in places if path.exists()), places[0])
