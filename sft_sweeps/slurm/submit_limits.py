"""How many jobs a user may have in the queue at one time: what the accounting's limits allow, as `sacctmgr` tells them.

They stand at the user's association with an account, at the account, and at the quality of service of the job or of
its partition. Each element of an array counts as a job. Where they cannot be read (no accounting, not enforced, no
`sacctmgr` here) there is none known, and `sbatch` may refuse all the same.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from sft_sweeps.errors import RunError
from sft_sweeps.slurm.cluster import ask

SACCTMGR = ("sacctmgr", "--noheader", "--parsable2", "--readonly", "show")
# In what sbatch says when a limit on the number of jobs is reached, and not one that a job alone is over.
REACHED = re.compile(r"(Max|Grp)Submit|MaxJobCount|maximum number of jobs", re.IGNORECASE)


@dataclass(frozen=True)
class SubmitLimit:
    """At most so many jobs in the queue at one time; `name` says whose limit that is, in Slurm's words."""

    name: str
    most: int


def submit_limits(user: str, accounts: Collection[str], qualities: Collection[str]) -> list[SubmitLimit]:
    """The limits that jobs of these accounts and qualities of service are under, lowest first; "" are the defaults."""
    try:
        found = [*_of_associations(user, accounts, qualities)]
    except RunError:
        return []
    return sorted(found, key=lambda limit: limit.most)


def _of_associations(user: str, accounts: Collection[str], qualities: Collection[str]) -> Iterator[SubmitLimit]:
    used, default_account = {name for name in qualities if name}, _default_account(user) if "" in accounts else ""
    wanted = {account or default_account for account in accounts}
    rows = _table("associations", f"users={user}", "format=Account,MaxSubmitJobs,DefaultQOS")
    for account, most, default in rows:
        if account in wanted:
            used |= {default or "normal"} if "" in qualities else set()
            yield from _limit(f"MaxSubmitJobs of {user} in account {account}", most)
    for account, owner, most in _table(
        "associations", f"accounts={','.join(wanted)}", "format=Account,User,GrpSubmitJobs"
    ):
        if not owner and account in wanted:
            yield from _limit(f"GrpSubmitJobs of account {account}", most)
    for name, per_user, per_account, in_all in _table("qos", "format=Name,MaxSubmitPU,MaxSubmitPA,GrpSubmit"):
        if name in used:
            yield from _limit(f"MaxSubmitJobsPerUser of qos {name}", per_user)
            yield from _limit(f"MaxSubmitJobsPerAccount of qos {name}", per_account)
            yield from _limit(f"GrpSubmitJobs of qos {name}", in_all)


def _default_account(user: str) -> str:
    return next((row[0] for row in _table("users", user, "format=DefaultAccount")), "")


def _limit(name: str, most: str) -> Iterator[SubmitLimit]:
    if most.isdigit():
        yield SubmitLimit(name, int(most))


def _table(*what: str) -> Iterator[list[str]]:
    return (line.split("|") for line in ask(*SACCTMGR, *what).splitlines() if line)
