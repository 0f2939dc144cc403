"""What a stage's training begins with: whole weights, and for some the parent's adapter."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import distributed as dist

from sft_sweeps.errors import RunError
from sft_sweeps.files import fence
from sft_sweeps.models import hub_cache, merging
from sft_sweeps.models.adapter import Parts
from sft_sweeps.train import ranks


@dataclass(frozen=True)
class Start:
    """`whole` is the folder of the weights, of `parts`; `before` the parent's adapter beside them.

    `number` adapters were trained before.
    """

    whole: Path
    before: Path | None
    parts: Parts
    number: int = 0

    @property
    def base(self) -> str:
        """By what name PEFT finds the model that an adapter lies on; empty where it was merged for this start alone."""
        return "" if self.parts.adapters else hub_cache.repository_of(self.whole) or str(self.whole.absolute())


@contextmanager
def frozen(parts: Parts, folder: Path) -> Iterator[Path]:
    """The folder of the whole weights, on every rank; where adapters are to be merged first, the first rank does it."""
    if not parts.adapters:
        yield parts.whole
        return
    target, problem = folder / str(ranks.from_first(f".parent{fence.token()}")), ""
    try:
        if dist.get_rank() == 0:
            try:
                shutil.rmtree(target, ignore_errors=True)
                folder.mkdir(parents=True, exist_ok=True)
                merging.merge(parts, target)
            except RunError as error:
                problem = str(error)
        if problem := str(ranks.from_first(problem)):
            raise RunError(problem)
        yield target
    finally:
        if dist.get_rank() == 0:
            shutil.rmtree(target, ignore_errors=True)
