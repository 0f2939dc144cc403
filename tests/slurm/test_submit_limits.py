"""How many jobs the accounting lets a user have, from sacctmgr's answers."""

import pytest

from sft_sweeps.errors import RunError
from sft_sweeps.slurm import submit_limits as limits
from sft_sweeps.slurm.cluster import PartitionPolicy, parse_policies, policies_of
from sft_sweeps.slurm.submit_limits import REACHED, SubmitLimit, submit_limits

ANSWERS = {
    ("users", "anna"): "proj\n",
    ("associations", "users=anna"): "proj|9|\nrich|90|long\n",
    ("associations", "accounts=proj"): "proj||30\nproj|anna|\n",
    ("associations", "accounts=rich"): "rich||\nrich|anna|5\n",
    ("qos", "format=Name,MaxSubmitPU,MaxSubmitPA,GrpSubmit"): "normal|7||\nlong||40|50\nother|1|1|1\n",
}


@pytest.fixture
def sacctmgr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ask", lambda *words: ANSWERS[words[5], words[6]])


@pytest.mark.usefixtures("sacctmgr")
@pytest.mark.parametrize(
    ("account", "qos", "found"),
    [
        ("", "", [("MaxSubmitJobsPerUser of qos normal", 7), ("MaxSubmitJobs of anna in account proj", 9)]),
        ("rich", "", [("MaxSubmitJobsPerAccount of qos long", 40), ("GrpSubmitJobs of qos long", 50)]),
        ("proj", "long", [("MaxSubmitJobs of anna in account proj", 9), ("GrpSubmitJobs of account proj", 30)]),
    ],
)
def test_the_lowest_comes_first(account: str, qos: str, found: list[tuple[str, int]]) -> None:
    assert submit_limits("anna", {account}, {qos})[:2] == [SubmitLimit(*each) for each in found]


def test_where_nothing_answers_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: str) -> str:
        raise RunError("sacctmgr is not on PATH")

    monkeypatch.setattr(limits, "ask", absent)
    assert submit_limits("anna", {""}, {""}) == []


POLICY = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


@pytest.mark.parametrize(
    ("message", "reached"),
    [
        (f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}", True),
        (f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}", True),
        (f"sbatch: error: AssocGrpSubmitJobsLimit\n{POLICY}", True),
        ("sbatch: error: Slurm temporarily unable to accept job: MaxJobCount", True),
        (f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", False),  # too long a job stays too long
        (POLICY, False),
        ("sbatch: error: invalid partition specified: x", False),
    ],
)
def test_too_many_jobs_are_told_from_a_job_that_can_never_run(message: str, reached: bool) -> None:
    assert bool(REACHED.search(message)) == reached


def test_what_partitions_say_for_themselves() -> None:
    text = (
        "PartitionName=main AllowQos=ALL Default=YES QoS=N/A PreemptMode=OFF State=UP\n"
        "PartitionName=low QoS=cheap PreemptMode=CANCEL State=UP JobDefaults=(null)\n"
    )
    known = dict(parse_policies(text))
    assert known == {"main": PartitionPolicy("OFF", "", default=True), "low": PartitionPolicy("CANCEL", "cheap")}
    assert [*policies_of("", known)] == ["main"]
    assert [*policies_of("low,main,gone", known)] == ["low", "main"]
