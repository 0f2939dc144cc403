"""What an engine is that answers prompts: token ids in, token ids out (`hf.HFEngine` and `replicas.Replicas`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.store.answers import Answer

CHECKED = 32  # prompts of a self-check
Keep = Callable[[int, Answer], None]  # the prompt's index, its answer
Progress = Callable[[int], None]  # how many prompts are answered


@dataclass(frozen=True, slots=True)
class Sampling:
    """Temperature 0 takes the likeliest token; above it, tokens are drawn by `seed`, whatever else is answered."""

    temperature: float = 0.0
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts as token ids; each has its limit of new tokens and its sampling. `eos_id` ends an answer."""

    ids: Sequence[Sequence[int]]
    limits: Sequence[int]
    eos_id: int
    sampling: Sequence[Sampling]

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, indices: Sequence[int]) -> "Prompts":
        """Those of the prompts, in that order."""
        ids, limits = [self.ids[index] for index in indices], [self.limits[index] for index in indices]
        return Prompts(ids, limits, self.eos_id, [self.sampling[index] for index in indices])


def greedy(ids: Sequence[Sequence[int]], limit: int, eos_id: int) -> Prompts:
    """Prompts with one limit, each answered by the likeliest tokens."""
    return Prompts(ids, [limit] * len(ids), eos_id, [GREEDY] * len(ids))


class AnswerEngine(Protocol):
    """A model with its weights loaded."""

    def generate(
        self, prompts: Prompts, batch_size: int, *, progress: Progress = ..., keep: Keep = ...
    ) -> list[Answer]:
        """The continuation of each prompt, in the prompts' order; empty where the model has no room for one.

        `keep` is called with each answer as soon as it has ended, `progress` again and again meanwhile; both may raise.
        """

    def self_check(self, prompts: Prompts, batch_size: int) -> tuple[int, int]:
        """(prompts checked, prompts whose first tokens depend on the batch that they are answered in)."""

    def losses(self, encoded: Sequence[Encoded], progress: Progress = ...) -> list[tuple[float, int]]:
        """For each example: the summed cross-entropy (nats) of its supervised tokens, and their number."""

    def close(self) -> None:
        """End what was started for it."""


def no_progress(_: int) -> None:
    """Tells nobody."""


def not_kept(_: int, __: Answer) -> None:
    """Keeps nothing."""


def unlike(prompts: Sequence[Sequence[int]], count: int) -> list[int]:
    """The indices of so many of the prompts, of lengths as different as there are."""
    by_length = {len(prompt): index for index, prompt in reversed(list(enumerate(prompts)))}
    first = [by_length[length] for length in sorted(by_length)]
    if len(first) > count:
        first = [first[n * (len(first) - 1) // (count - 1)] for n in range(count)]
    taken = set(first)
    rest = [index for index in range(len(prompts)) if index not in taken]
    return [*first, *rest][:count]
