"""Many programs, as many at once as there are cores: each waits for processes of its own, so threads are enough."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import layers
from sft_sweeps.sandbox.servers import Servers

T = TypeVar("T")
Result = TypeVar("Result")


def run_each(
    work: Callable[[T, Servers], Result],
    given: Sequence[T],
    isolation: Isolation,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """What `work`, which runs programs behind `isolation` by the servers that it is given, makes of each, in order.

    `progress` hears how many are done.
    RunError before the first where the isolation lacks what is required.
    """
    layers.check(isolation)
    results = []
    cores = max(1, len(os.sched_getaffinity(0)))
    with Servers(many=True) as servers, ThreadPoolExecutor(cores) as pool:
        for done, result in enumerate(pool.map(lambda one: work(one, servers), given), 1):
            results.append(result)
            progress(done)
    return results
