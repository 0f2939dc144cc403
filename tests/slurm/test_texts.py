"""Slurm's texts of versions and sites that the test's own Slurm is not."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sft_sweeps.slurm import reasons
from sft_sweeps.slurm.cluster import NodeKind, minutes, parse_limits, parse_partitions, seconds
from sft_sweeps.slurm.queue import FIELD, RECORD, Entry, Past, elements, parse_history, parse_queue

TIMES = {
    "90": 5400,
    "30:00": 1800,
    "0:59": 59,
    "1:30:00": 5400,
    "2-0": 172800,
    "1-1:30": 91800,
    "2-00:00:01": 172801,
    "0": 0,
}


@pytest.mark.parametrize("text", TIMES)
def test_times(text: str) -> None:
    assert seconds(text) == TIMES[text]
    assert minutes(text) == -(-TIMES[text] // 60)


@given(days=some.integers(0, 400), hours=some.integers(0, 23), minutes=some.integers(0, 59), secs=some.integers(0, 59))
def test_every_form_of_a_time(days: int, hours: int, minutes: int, secs: int) -> None:
    whole = ((days * 24 + hours) * 60 + minutes) * 60 + secs
    assert seconds(f"{days}-{hours:02}:{minutes:02}:{secs:02}") == whole
    assert seconds(f"{days * 24 + hours}:{minutes:02}:{secs:02}") == whole
    assert seconds(f"{whole // 60}:{secs}") == whole
    assert seconds(f"{days}-{hours}:{minutes}") == seconds(str(whole // 60)) == whole - secs


@pytest.mark.parametrize("text", ["", "1h", "-5", "1:2:3:4", "1-", "1-2:3:4:5", "UNLIMITED", "INVALID", "1.5", "٣"])
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        minutes(text)


plain_text = some.text(some.characters(exclude_characters=RECORD + FIELD + "\n", codec="utf-8"))
entries = some.builds(
    Entry,
    job=some.from_regex(r"[1-9]\d{0,7}(_\d{1,4})?", fullmatch=True),
    name=some.text(some.characters(exclude_characters=RECORD, codec="utf-8")),
    owner=some.from_regex(r"[a-z]\w*", fullmatch=True),
    state=some.sampled_from(["PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "SPECIAL_EXIT"]),
    reason=plain_text.filter(lambda text: text != "None") | some.just("ReqNodeNotAvail, UnavailableNodes:n[1-3,7]"),
    nodes=some.sampled_from(["", "n1", "127.0.0.[10-11]", "a[1-3],b07"]),
    partition=plain_text,
    seconds_left=some.none() | some.integers(0, 10**6),
)


def line(entry: Entry) -> str:
    left = "UNLIMITED" if entry.seconds_left is None else f"{entry.seconds_left // 60}:{entry.seconds_left % 60:02}"
    reason = entry.reason or "None"
    fields = (entry.job, entry.owner, entry.state, reason, entry.nodes, entry.partition, left, entry.name)
    return RECORD + FIELD.join(fields) + "\n"


@given(some.lists(entries, max_size=5))
def test_whatever_a_queue_holds(listed: list[Entry]) -> None:
    text = "CLUSTER: one\n" + "".join(map(line, listed))
    assert list(parse_queue(text)) == listed
    assert all(entry.alive for entry in listed)


def test_a_name_that_imitates_a_record_harms_no_other() -> None:
    good = Entry("7", "good", "me", "RUNNING", "", "n1", "main", 60)
    bad = Entry("8", f"bad{RECORD}9{FIELD}x", "me", "RUNNING", "", "n1", "main", 60)
    found = {entry.job: entry for entry in parse_queue(line(bad) + line(good))}
    assert set(found) == {"7", "8"}
    assert found["7"] == good


def test_elements() -> None:
    assert list(elements("7_[0-2,9,10-16:3%4]")) == [f"7_{n}" for n in (0, 1, 2, 9, 10, 13, 16)]
    assert [list(elements(job)) for job in ("7", "7_3", "7+1", "7_[5]")] == [["7"], ["7_3"], ["7+1"], ["7_5"]]


@given(some.sets(some.integers(0, 400), min_size=1), some.booleans())
def test_elements_of_any_array(indices: set[int], limited: bool) -> None:
    parts = ",".join(map(str, sorted(indices))) + ("%3" if limited else "")
    assert set(elements(f"12_[{parts}]")) == {f"12_{n}" for n in indices}


def test_a_history_of_other_states() -> None:
    text = "7|TIMEOUT|0:0|3600|n[1-2]\n8_2|CANCELLED by 1000|0:15|12|n1\n8_[3-4%1]|PENDING|0:0||None assigned\n"
    assert list(parse_history(text)) == [
        Past("7", "TIMEOUT", "0:0", 3600, "n[1-2]"),
        Past("8_2", "CANCELLED", "0:15", 12, "n1"),
        Past("8_3", "PENDING", "0:0", 0, ""),
        Past("8_4", "PENDING", "0:0", 0, ""),
    ]


SINFO = """CLUSTER: big
gpu*|up|2-00:00:00|3|128|1031000|gpu:a100:8(S:0-1),shard:64|mixed|a100,80gb
gpu*|up|2-00:00:00|1|128|1031000|gpu:a100:8(S:0-1),shard:64|drained*|a100,80gb
gpu*|up|2-00:00:00|2|128|1031000|gpu:a100:8(S:0-1),shard:64|idle~|a100,80gb
gpu*|up|2-00:00:00|1|128|1031000|gpu:a100:8(S:0-1),shard:64|allocated*|a100,80gb
mig|drain|30:00|1|64|515000|gpu:a100:1(S:0),gpu:1g.5gb:14(S:0,1)|idle|(null)
cpu|up|infinite|5|32|128000|(null)|planned|(null)
old|up|8:00:00|4|16+|64000+|gpu:4|reserved|(null)
none|inact|n/a|0|0|0|(null)|n/a|(null)
"""


def test_partitions_of_other_sites() -> None:
    gpu, mig, cpu, old, none = parse_partitions(SINFO)
    assert (gpu.name, gpu.default, gpu.minutes) == ("gpu", True, 2880)
    assert gpu.nodes == (NodeKind(5, 2, 128, 1031000, 8, "a100", ("a100", "80gb")),)
    assert (mig.up, mig.minutes, mig.nodes[0].gpus, mig.nodes[0].gpu_type) == (False, 30, 14, "1g.5gb")
    assert (cpu.minutes, cpu.nodes) == (None, (NodeKind(5, 0, 32, 128000, 0, "", ()),))
    assert (old.minutes, old.nodes) == (480, (NodeKind(4, 0, 16, 64000, 4, "", ()),))
    assert (none.up, none.nodes) == (False, ())


def test_limits_of_other_sites() -> None:
    text = """Configuration data as of 2024-05-01T12:00:00
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = big
DependencyParameters    = kill_invalid_depend
JobRequeue              = 0
MaxArraySize            = 2001
PreemptMode             = GANG,SUSPEND
PreemptParameters       = send_user_signal
PreemptType             = preempt/qos
PrivateData             = accounts,jobs
SchedulerParameters     = bf_continue,max_array_tasks=500
SLURM_VERSION           = 24.05.3

Cgroup Support Configuration:
MaxArraySize            = 7
"""
    found = parse_limits(text)
    assert (found.version, found.cluster, found.max_array_size, found.max_array_tasks) == ("24.05.3", "big", 2001, 500)
    assert (found.preempt_type, found.preempt_mode, found.preempt_signal) == ("qos", "GANG,SUSPEND", True)
    assert (found.accounting, found.kill_invalid_depend, found.private_jobs, found.requeue) == (1, 1, 1, 0)
    assert (found.kill_wait, found.min_job_age) == (30, 300)
    off = parse_limits("PreemptType = preempt/none\nPreemptMode = OFF\nAccountingStorageType = (null)\n")
    assert (off.preempt_type, off.accounting) == ("", False)


SRUN = """srun: error: 127.0.0.10: task 0: Exited with exit code 1
srun: error: 127.0.0.11: task 3: Killed
srun: Terminating StepId=4.0
srun: error: 127.0.0.10: tasks 0-2: Terminated
"""


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (SRUN, "rank 3 was killed by SIGKILL on 127.0.0.11: as a rule the node had no memory left"),
        ("srun: error: n1: task 7: Segmentation fault (core dumped)\n", "rank 7 was killed by SIGSEGV on n1"),
        ("srun: error: n1: task 2: Out Of Memory\n", "rank 2 was killed by SIGKILL on n1: it used more memory"),
        (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=4.0. Some of the step tasks have been OOM Killed.\n"
            "srun: error: n1: task 1: Killed\n",
            "rank 1 was killed by SIGKILL on n1: it used more memory",
        ),
        ("srun: error: n1: task 0: Exited with exit code 139\n", "rank 0 was killed by SIGSEGV on n1"),
        ("srun: error: n1: tasks 4-5,7: Killed\n", "ranks 4-5,7 were killed by SIGKILL"),
        ("srun: error: n2: task 0: Aborted\nsrun: error: n1: task 1: Bus error\n", "rank 1 was killed by SIGBUS"),
        (f"{SRUN}sft-sweeps: start 2 on n1\nsrun: error: n1: task 0: Killed\r\n", "rank 0 was killed by SIGKILL on n1"),
        (f"{SRUN}sft-sweeps: start 2 on n1\n", ""),
        ("srun: error: n1: task 0: Exited with exit code 1\n", ""),
        ("task 1: Killed\n", ""),
        ("", ""),
    ],
)
def test_the_first_task_that_a_signal_ended_is_named(log: str, says: str) -> None:
    found = reasons.task_ended(log)
    assert found.startswith(says)
    assert bool(found) == bool(says)


@pytest.mark.parametrize("one", sorted(signal.Signals))
def test_every_signal_is_named_also_where_a_shell_stood_between(one: signal.Signals) -> None:
    for words in (signal.strsignal(one), f"Exited with exit code {128 + one}"):
        assert f"rank 3 was killed by {one.name} on n1" in reasons.task_ended(f"srun: error: n1: task 3: {words}\n")


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("ReqNodeNotAvail, Reserved for maintenance", "a maintenance reservation: it starts afterwards"),
        ("ReqNodeNotAvail, UnavailableNodes:n1", "nodes that it needs are down or reserved"),
        ("QOSMaxJobsPerUserLimit", "a limit of its quality of service is reached"),
        ("SomethingNew", "waits"),
    ],
)
def test_any_reason_of_waiting_stands_in_words_and_in_slurms(reason: str, says: str) -> None:
    assert reasons.waiting(reason).startswith(says)
    assert reasons.waiting(reason).endswith(f"({reason})")
