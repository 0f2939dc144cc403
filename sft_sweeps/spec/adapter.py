"""What an adapter is: small matrices that are trained beside frozen weights.

LoRA (Hu et al. 2021, arXiv 2106.09685): a linear layer with weights W [out, in] computes (W + alpha / rank * B A) x,
where A [rank, in] is drawn and B [out, rank] begins at zero. W stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sft_sweeps.identity import WHERE_CHANGED, canonical


@dataclass(frozen=True, slots=True)
class Adapter:
    """How a stage's adapter is made.

    `targets` are the last parts of the names of the layers that it is added to; none: every linear layer but the head.
    `then` says what becomes of the parent's adapter, where the parent was trained with one: it is trained on
    (`continue`), it stays as it is beside a new one (`stack`), or the new one is trained on its merged weights
    (`merge`).
    """

    kind: Literal["lora"]
    rank: int
    alpha: float
    dropout: float = field(default=0.0, metadata=WHERE_CHANGED)
    targets: tuple[str, ...] = field(default=(), metadata=WHERE_CHANGED)
    then: Literal["continue", "stack", "merge"] = field(default="continue", metadata=WHERE_CHANGED)

    @property
    def first(self) -> "Adapter":
        """The same of a stage whose parent has no adapter, so that nothing becomes of one."""
        return replace(self, then="continue")

    @property
    def words(self) -> str:
        """`lora16`, part of labels."""
        return f"{self.kind}{self.rank}" + ("" if self.then == "continue" else f"-{self.then}")

    def __str__(self) -> str:
        return told(canonical(self))


def told(adapter: Mapping[str, Any]) -> str:
    """`lora, rank 16, alpha 32.0`: an adapter as identities have it, for people."""
    return ", ".join([adapter["kind"], *(f"{key} {value}" for key, value in adapter.items() if key != "kind")])
