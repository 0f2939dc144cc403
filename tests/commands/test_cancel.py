"""Cancelling ends a sweep's own jobs, and nothing that another sweep's living jobs stand on."""

import json
from pathlib import Path

import pytest
from outcomes import finish
from pretended_slurm import Pretended, row, start, submit
from slurm_cluster import Cluster
from values import mixed, request

from sft_sweeps.commands import cancel, main
from sft_sweeps.commands.status import rows as status
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.jobs import submissions
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.spec.training import Stage
from sft_sweeps.store import claims
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, freeze


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretended:
    monkeypatch.setattr(cancel, "POLL_SECONDS", 0.01)
    return start(tmp_path / "slurm", monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def first() -> Plan:
    """Code, math, general one after the other."""
    return build([("a", request(strategy="sequential", every_stage=True))])


@pytest.fixture
def second() -> Plan:
    """The first two of these, and then no more."""
    return build([("b", request(mixed()[:2], strategy="sequential"))])


def sweep_of(plan: Plan, store: Store, name: str) -> Sweep:
    return freeze(plan, store, name, "", [])


def give(store: Store, sweep: Sweep, stage: Stage, number: str, call: str = "") -> Path:
    """Claim and submit a stage's training; the claim's folder."""
    call = call or f"{sweep.name}.{number}"
    folder = store.folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    claim = claims.take(folder, sweep.name, call, int(number.partition("_")[2] or -1))
    assert claim
    claims.confirm(folder, claim, number)
    submit(sweep, call, {f"train-{stage.id}": number})
    return folder


def line(sweep: Sweep, number: str, state: str = "PENDING", reason: str = "Priority") -> dict[str, str]:
    return row(number, f"{sweep.name}.{number}", state, reason)


def cancelled(sweep: Sweep, store: Store) -> tuple[list[str], list[tuple[str, str]]]:
    found = cancel.cancel(sweep, Store(store.root), lambda _: True)
    return [one["job"] for one in found["cancelled"]], [(one["job"], one["why"]) for one in found["left"]]


def test_all_its_jobs_end_and_their_claims_are_given_back(first: Plan, store: Store, slurm: Pretended) -> None:
    sweep = sweep_of(first, store, "mine")
    finish(store, first.models[0])
    folders = [give(store, sweep, stage, f"{n}_{n}") for n, stage in enumerate(first.stages)]
    (folders[0] / "resume" / "step-4").mkdir(parents=True)
    submit(sweep, f"{sweep.name}.9", {f"score-{first.stages[0].id}": "9"})
    slurm.write(
        *(line(sweep, f"{n}_{n}", "PENDING" if n else "RUNNING") for n in range(3)), line(sweep, "9"), row("8", "other")
    )
    assert cancelled(sweep, store) == (["0_0", "1_1", "2_2", "9"], [])
    assert slurm.states() == {
        "0_0": "CANCELLED",
        "1_1": "CANCELLED",
        "2_2": "CANCELLED",
        "9": "CANCELLED",
        "8": "PENDING",
    }
    assert [claims.files(folder) for folder in folders] == [[], [], []]
    assert (folders[0] / "resume" / "step-4").is_dir()
    assert "cancelled by" in submissions.cancelled(sweep.folder)["0_0"]
    assert cancelled(sweep, store) == ([], [])
    assert len(slurm.calls("scancel")) == 1


def test_what_another_sweep_needs_is_left(first: Plan, second: Plan, store: Store, slurm: Pretended) -> None:
    """Theirs waits for our second stage, which waits for our first one; the third is ours alone."""
    ours, theirs = sweep_of(first, store, "ours"), sweep_of(second, store, "theirs")
    assert [stage.id for stage in second.stages] == [stage.id for stage in first.stages[:2]]
    folders = [give(store, ours, stage, str(n)) for n, stage in enumerate(first.stages, 1)]
    submit(theirs, f"{theirs.name}.7", {f"generate-{second.stages[1].id}": "7"}, "afterok:2")
    submit(ours, f"{ours.name}.5", {f"score-{first.stages[0].id}": "5"}, "afterok:1")
    rows = [line(ours, "1", "RUNNING"), *(line(ours, n, reason="Dependency") for n in "235"), line(theirs, "7")]
    slurm.write(*rows)
    gone, left = cancelled(ours, store)
    assert gone == ["3", "5"]
    assert left == [("1", f"sweep {theirs.name} needs it"), ("2", f"sweep {theirs.name} needs it")]
    assert [len(claims.files(folder)) for folder in folders] == [1, 1, 0]
    assert cancelled(theirs, store) == (["7"], [])
    assert cancelled(ours, store) == (["1", "2"], [])


@pytest.mark.parametrize("state", ["gone", "ended", "reused"])
def test_a_sweep_without_living_jobs_needs_nothing(
    state: str, first: Plan, second: Plan, store: Store, slurm: Pretended
) -> None:
    ours, theirs = sweep_of(first, store, "ours"), sweep_of(second, store, "theirs")
    give(store, ours, first.stages[0], "1")
    submit(theirs, f"{theirs.name}.7", {f"train-{second.stages[1].id}": "7"}, "afterok:1")
    more = {"gone": [], "ended": [line(theirs, "7", "CANCELLED")], "reused": [row("7", "of somebody else", "RUNNING")]}
    slurm.write(line(ours, "1", "RUNNING"), *more[state])
    assert cancelled(ours, store) == (["1"], [])


def test_claims_tell_of_jobs_that_no_launcher_wrote_down(
    first: Plan, second: Plan, store: Store, slurm: Pretended
) -> None:
    """A launcher died after sbatch: ours is found by its claim, and so is what another sweep needs."""
    ours, theirs = sweep_of(first, store, "ours"), sweep_of(second, store, "theirs")
    give(store, ours, first.stages[0], "1")
    give(store, theirs, second.stages[1], "7")
    give(store, ours, first.stages[2], "3")
    place = store.folder(first.stages[0]) / "answers"
    place.mkdir()
    claim = claims.take(place, ours.name, f"{ours.name}.4")
    assert claim
    claims.confirm(place, claim, "4")
    for sweep in (ours, theirs):
        (sweep.folder / submissions.SUBMISSIONS).unlink()
    slurm.write(line(ours, "1", "RUNNING"), line(ours, "3"), line(ours, "4"), line(theirs, "7", reason="Dependency"))
    assert cancelled(ours, store) == (["4", "3"], [("1", f"sweep {theirs.name} needs it")])
    assert claims.files(place) == []


def test_jobs_of_other_users_are_left(first: Plan, store: Store, slurm: Pretended) -> None:
    sweep = sweep_of(first, store, "mine")
    with (sweep.folder / submissions.SUBMISSIONS).open("w") as file:
        json.dump({"call": "c", "jobs": {f"train-{first.stages[0].id}": "1"}, "owner": "somebody"}, file)
    slurm.write(row("1", "c", owner="somebody"))
    assert cancelled(sweep, store) == ([], [("1", "it belongs to somebody, who can cancel it")])
    assert slurm.calls("scancel") == []


def test_a_number_that_was_given_away_again(first: Plan, store: Store, slurm: Pretended) -> None:
    sweep = sweep_of(first, store, "mine")
    give(store, sweep, first.stages[0], "1")
    slurm.write(row("1", "mine-but-of-another-call", "RUNNING"))
    assert cancelled(sweep, store) == ([], [])
    assert slurm.states() == {"1": "RUNNING"}


def test_a_job_that_does_not_end_keeps_its_claim(
    first: Plan, store: Store, slurm: Pretended, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cancel, "ENDING_SECONDS", 0.2)
    sweep = sweep_of(first, store, "mine")
    folder = give(store, sweep, first.stages[0], "1")
    slurm.write(line(sweep, "1", "COMPLETING"))
    found = cancel.cancel(sweep, store, lambda _: True)
    assert found["still_ending"] == ["1"]
    assert len(claims.files(folder)) == 1
    assert capsys.readouterr().err == "1 jobs are saving and ending ...\n"


def test_no_is_no(first: Plan, store: Store, slurm: Pretended) -> None:
    sweep, asked = sweep_of(first, store, "mine"), []
    give(store, sweep, first.stages[0], "1")
    slurm.write(line(sweep, "1"))
    assert cancel.cancel(sweep, store, lambda text: bool(asked.append(text)))["cancelled"] == []
    assert asked == [f"cancel 1 jobs of sweep {sweep.name}?"]
    assert slurm.states() == {"1": "PENDING"}
    assert slurm.calls("scancel") == []


def test_a_silent_controller(first: Plan, store: Store, slurm: Pretended) -> None:
    sweep = sweep_of(first, store, "mine")
    folder = give(store, sweep, first.stages[0], "1")
    (slurm.folder / "controller").unlink()
    with pytest.raises(RunError, match="Slurm does not answer here; nothing was cancelled"):
        cancel.cancel(sweep, store, lambda _: True)
    assert len(claims.files(folder)) == 1


def finish_all(plan: Plan, store: Store) -> None:
    for item in (*plan.stages, *plan.generations, *plan.scores):
        finish(store, item)


def test_the_command(
    first: Plan, second: Plan, store: Store, slurm: Pretended, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, local = sweep_of(first, store, "mine"), sweep_of(second, store, "local")
    give(store, mine, first.stages[0], "1")
    slurm.write(line(mine, "1"))
    place = ["--output-dir", str(store.root)]
    assert main.main(["cancel", local.name, *place]) == 2
    assert "was not given to Slurm: it runs in the terminal that launched it" in capsys.readouterr().err
    finish_all(second, store)
    assert main.main(["cancel", local.name, *place]) == 0
    assert f"sweep {local.name} is finished" in capsys.readouterr().out
    assert main.main(["cancel", "20", *place]) == 2
    assert "'20' means 2 sweeps" in capsys.readouterr().err
    assert main.main(["cancel", "absent", *place]) == 2
    assert mine.name in capsys.readouterr().err
    assert main.main(["cancel", "mine", "--yes", *place]) == 0
    assert f"sweep {mine.name}: cancelled 1 jobs: 1 train; resume states are kept" in capsys.readouterr().out
    assert main.main(["cancel", "mine", "--json", *place]) == 0
    assert json.loads(capsys.readouterr().out)["cancelled"] == []
    with pytest.raises(RequestError):
        cancel.find(Store(store.root / "nowhere"), "x")


def test_on_a_real_cluster(
    first: Plan, second: Plan, store: Store, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours trains as two arrays, one after the other, and a plain job; theirs answers with our second stage."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    ours, theirs = sweep_of(first, store, "ours"), sweep_of(second, store, "theirs")
    finish(store, first.models[0])
    one = cluster.sbatch("sleep 60", "--array=0-1", f"--job-name={ours.name}.1")
    two = cluster.sbatch("sleep 60", "--array=1", f"--job-name={ours.name}.2", f"--dependency=aftercorr:{one}")
    last = cluster.sbatch("sleep 60", f"--job-name={ours.name}.3", f"--dependency=afterok:{two}_1")
    answers = cluster.sbatch("sleep 60", f"--job-name={theirs.name}.4", f"--dependency=afterok:{two}_1")
    numbers = [f"{one}_1", f"{two}_1", last]
    folders = [
        give(store, ours, stage, number, f"{ours.name}.{n}")
        for n, (stage, number) in enumerate(zip(first.stages, numbers, strict=True), 1)
    ]
    submit(theirs, f"{theirs.name}.4", {f"generate-{second.stages[1].id}": answers})
    cluster.wait(f"{one}_1", states=["RUNNING"])
    found = status.status(first, Store(store.root), ours.name)
    assert [(stage["state"], stage["reason"]) for stage in found["stages"]] == [
        ("running", ""),
        ("pending", "Dependency"),
        ("pending", "Dependency"),
    ]
    needs = f"sweep {theirs.name} needs it"
    assert cancelled(ours, store) == ([last], [(f"{one}_1", needs), (f"{two}_1", needs)])
    assert [len(claims.files(folder)) for folder in folders] == [1, 1, 0]
    assert cancelled(theirs, store) == ([answers], [])
    assert cancelled(ours, store) == ([f"{one}_1", f"{two}_1"], [])
    assert [len(claims.files(folder)) for folder in folders] == [0, 0, 0]
    states = cluster.queue()
    assert [states[number] for number in (*numbers, answers)] == ["CANCELLED"] * 4
    assert states[f"{one}_0"] == "RUNNING"  # no job of the sweep's stages, as far as it wrote down
    found = status.status(first, Store(store.root), ours.name)
    assert [stage["state"] for stage in found["stages"]] == ["cancelled"] * 3
    assert all("cancelled by" in stage["why"] for stage in found["stages"])
    cluster.run("scancel", one)


def test_a_sweep_that_waits_without_a_job_of_its_own_is_waited_for(
    first: Plan, second: Plan, store: Store, slurm: Pretended
) -> None:
    """It was launched while ours trained all that it asks for; cancelling it takes its wish back."""
    ours, theirs = sweep_of(first, store, "ours"), sweep_of(second, store, "theirs")
    for n, stage in enumerate(first.stages, 1):
        give(store, ours, stage, str(n))
    submissions.note_waits(theirs.folder, [f"train-{second.stages[1].id}"])
    slurm.write(*(line(ours, n, reason="Dependency") for n in "123"))
    gone, left = cancelled(ours, store)
    assert gone == ["3"]
    assert left == [(n, f"sweep {theirs.name} needs it") for n in "12"]
    assert cancelled(theirs, store) == ([], [])
    assert cancelled(ours, store) == (["1", "2"], [])


@pytest.mark.parametrize(("how", "left"), [("afterok", ["0", "1_4"]), ("afterany", [])])
def test_what_another_sweeps_job_depends_on_is_left_whatever_it_does(
    first: Plan, second: Plan, store: Store, slurm: Pretended, *, how: str, left: list[str]
) -> None:
    """An encoding, an element of an array, and what that element waits for; `afterany` needs no success."""
    ours, theirs = sweep_of(first, store, "ours"), sweep_of(second, store, "theirs")
    model = first.models[0].id
    submit(ours, f"{ours.name}.0", {f"encode-{model}": "0"})
    numbers = {f"generate-{model}": "1_4", f"generate-{first.stages[0].id}": "1_5"}
    submit(ours, f"{ours.name}.1", numbers, "afterok:0")
    after = "aftercorr:1" if how == "afterok" else "afterany:1_4"
    submit(theirs, f"{theirs.name}.7", {f"generate-{second.stages[1].id}": "7_4" if how == "afterok" else "7"}, after)
    mine = [row(number, f"{ours.name}.{number[0]}", "PENDING", "Priority") for number in ("0", "1_4", "1_5")]
    slurm.write(*mine, row("7_4" if how == "afterok" else "7", f"{theirs.name}.7", "PENDING", "Dependency"))
    gone, kept = cancelled(ours, store)
    assert [number for number, _ in kept] == left
    assert sorted(gone) == sorted({"0", "1_4", "1_5"} - set(left))
