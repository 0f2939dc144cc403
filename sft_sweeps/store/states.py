"""States by id, of which some are found out only when somebody asks."""

from collections.abc import Callable, Iterator, Mapping

from sft_sweeps.plan.build import State


class States(Mapping[str, State]):
    """States by id. Answers whose score is there are asked for by nobody, and looked at only when somebody does."""

    def __init__(self, before: "States | None" = None) -> None:
        self.known: dict[str, State] = dict(before.known) if before else {}
        self.later: dict[str, Callable[[], State]] = dict(before.later) if before else {}

    def __getitem__(self, key: str) -> State:
        if key in self.later:
            self.known[key] = self.later.pop(key)()
        return self.known[key]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.known, **self.later})

    def __len__(self) -> int:
        return len(self.known) + len(self.later)

    def __contains__(self, key: object) -> bool:
        return key in self.known or key in self.later
