"""Room and need: quotas as the commands print them, and what a sweep has on the disk at its fullest moment."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import component, mixed, model, request, stage

from sft_sweeps.launch import disk
from sft_sweeps.launch.disk import DiskPolicy, needed, room
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import build
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Shape, Stage

UID, GID = os.getuid(), os.getegid()
LLAMA33B = Shape(6656, 17920, 60, 52, 52, 32000, 2048)
GB_IN_KB = 1e9 / 1024

# As quota 4.06 prints them with -w -p (the grace time is a number then), of a user and the groups he is in.
QUOTA = """\
Disk quotas for user anna (uid {uid}):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
/dev/mapper/vg-data 9765625{star}       {soft} {hard}       0    1200       0       0       0
Disk quotas for group lab (gid {gid}):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
server:/export/lab 1953125       0 5859375       0     310       0       0       0
Disk quotas for group others (gid 999999):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
/dev/mapper/vg-data       5       0       5       0     310       0       0       0
"""
# As Lustre's lfs prints them: `-` without a grace time, brackets where a server did not answer, long names alone.
LFS = """\
Disk quotas for {kind} {name} ({kind_of_id} {number}):
     Filesystem    kbytes   quota   limit   grace   files   quota   limit   grace
{line}
{kind_of_id} {number} is using default file quota setting
"""


@pytest.fixture(autouse=True)
def large_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No quota command but the test's own, and a file system with 1,000 GB free."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    real = shutil.which
    assert not any(real(name) for name in ("lfs", "quota"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**12))


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., Path]:
    """A command that prints a text, and leaves the arguments of its calls in a file."""

    def made(name: str, body: str) -> Path:
        calls = tmp_path / f"{name}.calls"
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n{body}\n')
        path.chmod(0o755)
        return calls

    return made


def printing(text: str, status: int = 0) -> str:
    return f"cat <<'END'\n{text}\nEND\nexit {status}"


def test_without_quotas_the_file_system_decides(tmp_path: Path) -> None:
    assert room(tmp_path / "not" / "there" / "yet") == disk.DiskRoom(1000.0, "its file system")


def kb(gigabytes: float) -> int:
    return round(gigabytes * GB_IN_KB)


@pytest.mark.parametrize(
    ("limits", "left", "limit"),
    [
        ((0, 15), 4.0, "group lab"),
        ((0, 13), 3.0, "user anna"),
        ((12, 13), 2.0, "user anna"),  # above the soft limit, writing ends some days later
        ((12, 0), 2.0, "user anna"),
        ((9, 13), -1.0, "user anna"),
        ((0, 0), 4.0, "group lab"),
    ],
)
def test_quota(limits: tuple[int, int], left: float, limit: str, command: Callable[..., Path], tmp_path: Path) -> None:
    star = "*" if left < 0 else ""
    text = QUOTA.format(uid=UID, gid=GID, soft=kb(limits[0]), hard=kb(limits[1]), star=star)
    calls = command("quota", printing(text, status=bool(star)))
    found = room(tmp_path)
    assert found.gb == pytest.approx(left, abs=1e-5)
    assert found.limit == f"the quota of {limit}"
    (call,) = calls.read_text().splitlines()
    assert call.startswith("-w -p -u -g -f /")
    assert Path(call.split()[-1]).is_mount()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("  /lustre7 9765625       0 11718750       - 443208230 0      0       -", 2.0),
        ("  /lustre7 [9765625] 11718750 [12695312]    - [0]       0       0       -", 2.0),
        ("  /lustre7 9765625* 8789062 12695312  6d23h 10       0       0       -", -1.0),
        (
            "/lustre/very/long/name/of/a/file/system\n          9765625       0 11718750       - 12 0      0       -",
            2.0,
        ),
        ("/fast 5  9765625       0 11718750       - 12 0      0       -", 2.0),
        ("  /lustre7 9765625       0       0       - 443208230 0      0       -", 1000.0),
    ],
)
def test_lustre(line: str, left: float, command: Callable[..., Path], tmp_path: Path) -> None:
    text = LFS.format(kind="usr", name="anna", kind_of_id="uid", number=UID, line=line)
    calls = command("lfs", f'[ "$2" = -u ] || exit 1\n{printing(text)}')
    assert room(tmp_path).gb == pytest.approx(left, abs=1e-5)
    assert [call.split()[:3] for call in calls.read_text().splitlines()] == [
        ["quota", "-u", str(UID)],
        ["quota", "-g", str(GID)],
    ]


def test_the_group_of_a_shared_store_counts(command: Callable[..., Path], tmp_path: Path) -> None:
    if UID:
        pytest.skip("only root can give a folder to any group")
    line = "  /lustre7 9765625       0 11718750       - 443208230 0      0       -"
    text = LFS.format(kind="grp", name="lab", kind_of_id="gid", number=4321, line=line)
    command("lfs", f'[ "$2 $3" = "-g 4321" ] || exit 1\n{printing(text)}')
    os.chown(tmp_path, -1, 4321)
    assert room(tmp_path).gb == 1000.0
    tmp_path.chmod(0o2775)
    assert room(tmp_path) == disk.DiskRoom(pytest.approx(2.0, abs=1e-5), "the quota of group lab")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"Disk quotas for user anna (uid {UID}): none",
        "lfs quota: '/home' not on a mounted Lustre filesystem",
        "Disk quotas for user anna (uid x):\n/dev/sda1 1 2 3 0 1 0 0 0",
        f"Disk quotas for user anna (uid {UID}):\n/dev/sda1 1 two 3 0 1 0 0 0\n\xff",
    ],
)
def test_what_cannot_be_read_limits_nothing(text: str, command: Callable[..., Path], tmp_path: Path) -> None:
    command("quota", printing(text, status=1))
    command("lfs", printing(text, status=1))
    assert room(tmp_path).gb == 1000.0


def test_a_server_that_does_not_answer_holds_nothing_up(
    command: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "ANSWER_SECONDS", 0.3)
    calls = command("quota", "exec sleep 60")
    started = time.monotonic()
    assert room(tmp_path).gb == 1000.0
    assert time.monotonic() - started < 10
    assert calls.exists()


def test_a_33b_stage() -> None:
    """Two kept states are 0.8 TB; a third one is being written."""
    big = stage(model("33b", shape=LLAMA33B), model_dtype="bf16")
    assert cost.parameters(LLAMA33B) == 32_528_943_616
    need = needed([big], {big.id}, DiskPolicy(at_once=8), keep=2)
    assert round(2 * cost.resume_gb(LLAMA33B)) == 781
    assert (need.models, need.at_once, need.states) == (1, 1, 3)
    assert (round(need.models_gb), round(need.states_gb), round(need.gb)) == (65, 1171, 1236)
    two = [big, stage(model("33b", shape=LLAMA33B), model_dtype="bf16", seed=1)]
    assert round(needed(two, {s.id for s in two}, DiskPolicy(at_once=8), keep=2).states_gb) == 2342
    assert round(needed(two, {s.id for s in two}, DiskPolicy(at_once=1), keep=2).states_gb) == 1171


def test_the_largest_ones_are_counted() -> None:
    small, large = stage(model("s")), stage(model("l", shape=replace(model().shape, layers=9)))
    need = needed([small, large], set(), DiskPolicy(at_once=1), keep=1)
    assert need.states_gb == 2 * cost.resume_gb(large.model.shape)
    assert need.models_gb == cost.model_gb(small) + cost.model_gb(large)


@pytest.mark.parametrize("retention", ["all", "final", "scores"])
def test_an_average_is_there_beside_what_it_is_made_of(retention: str) -> None:
    two = [stage(model("m")), stage(model("m"), seed=1)]
    average = Merge(tuple(two), (Fraction(1, 2), Fraction(1, 2)))
    policy = DiskPolicy(retention=retention)
    without, need = (needed(two, {average.id}, policy, keep=1, merges=some) for some in ((), (average,)))
    assert (need.models, need.models_gb) == (3, pytest.approx(3 * cost.model_gb(two[0])))
    assert need.gb == pytest.approx(without.gb + cost.model_gb(two[0]))


@pytest.mark.parametrize("retention", ["all", "final", "scores"])
def test_what_a_dmt_sweep_keeps(retention: str) -> None:
    """Eight k share one first stage, in which no run ends but the one that is asked of it alone."""
    points = [(str(n), request(strategy="dmt", k=Fraction(1, 4**n))) for n in range(4)]
    plan = build(points)
    ends = {run.id for run in plan.runs}
    need = needed(plan.stages, ends, DiskPolicy(at_once=100, retention=retention), keep=2)
    assert (need.models, need.at_once) == (5 if retention == "all" else 4, 4)
    first = plan.stages[0].id
    assert needed(plan.stages, {*ends, first}, DiskPolicy(retention=retention), keep=2).models == 5
    assert needed([], ends, DiskPolicy(retention=retention), keep=0).gb == 0


@given(st.lists(st.sampled_from(["multi_task", "sequential", "mixed_sequential", "dmt"]), min_size=1, max_size=4))
def test_no_more_can_run_at_once(names: list[str]) -> None:
    """Against the definition: the largest set of stages of which none is another's ancestor."""
    few = (component("code"), component("math"), *mixed()[2:])
    plan = build([(str(n), request(few, name, Fraction(1, 2 + n))) for n, name in enumerate(names)])

    def ancestors(of: Stage) -> set[str]:
        return {of.parent.id} | ancestors(of.parent) if isinstance(of.parent, Stage) else set()

    above = {stage.id: ancestors(stage) for stage in plan.stages}
    apart = [
        len(chosen)
        for size in range(1, len(plan.stages) + 1)
        for chosen in combinations(above, size)
        if not any(above[key] & set(chosen) for key in chosen)
    ]
    assert needed(plan.stages, set(), DiskPolicy(at_once=1000), keep=2).at_once == max(apart)
