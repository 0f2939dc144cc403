"""How many more jobs fit into the queue: by `cluster.max_submitted`, and by what the accounting allows this user.

All of the user's jobs are counted against each limit, though some may be under other ones: what is not submitted now is
submitted when the command is given again.
"""

import contextlib
import math
from collections.abc import Collection
from dataclasses import dataclass

from sft_sweeps.config.cluster_schema import ClusterConfig
from sft_sweeps.errors import RunError
from sft_sweeps.launch.slurm.resources import Resources
from sft_sweeps.slurm.cluster import Limits, policies, policies_of
from sft_sweeps.slurm.queue import Queue
from sft_sweeps.slurm.submit_limits import SubmitLimit, submit_limits
from sft_sweeps.store.claims import user

OWN = "cluster.max_submitted"


@dataclass
class Room:
    """`left` jobs more; `why` says whose limit it is."""

    left: float = math.inf
    why: str = ""

    def fill(self, jobs: int) -> None:
        """So many were submitted."""
        self.left -= jobs


def room(wanted: Collection[Resources], cluster: ClusterConfig, allowed: Limits, queue: Queue) -> Room:
    """For jobs of these resources, in one answer of sacctmgr's and the queue as it is known."""
    known = limits_of(wanted, allowed)
    if cluster.max_submitted:
        known.append(SubmitLimit(OWN, cluster.max_submitted))
    if not known:
        return Room()
    lowest = min(known, key=lambda limit: limit.most)
    return Room(max(0, lowest.most - queue.count(user())), f"{lowest.name}={lowest.most}")


def limits_of(wanted: Collection[Resources], allowed: Limits) -> list[SubmitLimit]:
    """What the accounting allows at one time, lowest first; none where it enforces nothing or cannot be read."""
    if not allowed.enforces_limits:
        return []
    qualities = {one.qos for one in wanted}
    with contextlib.suppress(RunError):
        known = policies()
        of_partitions = (policy for one in wanted for policy in policies_of(one.partition, known).values())
        qualities |= {policy.qos for policy in of_partitions if policy.qos}
    return submit_limits(user(), {one.account for one in wanted}, qualities)
