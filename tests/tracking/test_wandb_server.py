"""Real wandb before a server of this machine: what it has afterwards, and what becomes of training when it is ill."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from wandb_files import inspect, services, steps_of
from wandb_server import WandbServer

from sft_sweeps.execution import Tracking
from sft_sweeps.tracking import problems, wandb
from sft_sweeps.tracking.base import Alert, Artifact, Attempt, Ending, Mirror, Table
from sft_sweeps.tracking.metrics import Metrics
from sft_sweeps.tracking.process import log_file
from sft_sweeps.tracking.trackers import FINISH_SECONDS, TRACKERS, publish

KEY = "0123456789abcdef0123456789abcdef01234567"
ID = "0123456789ab"
ONLINE = Tracking("wandb", "table1", "", "auto", "sweep-1", ("table1",), (("model", "mini"), ("k", "none")))
Trouble = Callable[[str], int]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as made:
        monkeypatch.setenv("WANDB_BASE_URL", made.url)
        yield made


def training(folder: Path, **changes: Any) -> Attempt:
    return Attempt(folder, ONLINE, ID, "mini--math", {"recipe": {"epochs": 3}}, **changes)


def take(folder: Path, first: int, last: int, pause: float = 0.0) -> tuple[Mirror, float]:
    """The steps of one attempt; its mirror, and the seconds that it took beside them."""
    folder.mkdir(exist_ok=True, parents=True)
    started = time.monotonic()
    mirror, metrics = TRACKERS.get("wandb").open(training(folder)), Metrics(folder)
    for step in range(first, last + 1):
        metrics.write({"step": step, "steps": last, "loss": 1 / step})
        time.sleep(pause)
    metrics.close()
    return mirror, time.monotonic() - started - pause * (last + 1 - first)


def scores(folder: Path, value: float = 41.5) -> Attempt:
    table = Table(("item", "correct", "answer"), (("a/1", False, "7"), ("a/2", True, "8")))
    model = Artifact("model-" + ID, "model", {"model": "/store/model"}, {"digest": "sha256:1"})
    answers = Artifact("answers-1 of/us", "answers", {"items.jsonl": str(folder / "items.jsonl")})
    return Attempt(
        folder,
        ONLINE,
        "score-" + ID,
        "mini multi_task",
        {"lineage": {"uses": [model.name]}},
        job_type="score",
        summary={"gsm8k/score": value, "gpu_hours": 1.5},
        tables={"samples/gsm8k": table},
        uses=(model,),
        makes=(answers,),
        alerts=(Alert("sweep finished", "all of it"),),
        now=True,
    )


def test_a_stage_that_was_interrupted_goes_on_in_one_run_with_every_step_once(
    tmp_path: Path, server: WandbServer
) -> None:
    folder = tmp_path / "stage"
    take(folder, 1, 12)[0].close(60, Ending("interrupted"))
    assert list(server.runs) == [ID], log_file(folder, "wandb").read_text()
    run = server.runs[ID]
    assert run.preempting
    take(folder, 9, 20)[0].close(60, Ending())
    assert run.steps() == list(range(1, 21)), log_file(folder, "wandb").read_text()
    assert server.lines == 20, "a step was sent again"
    assert run.exits == [1, 0]
    assert run.config["study"]["value"] == {"model": "mini", "k": "none"}
    assert run.fields == {"displayName": "mini--math", "groupName": "sweep-1", "jobType": "train", "tags": ["table1"]}
    assert problems.problem_of(folder) == ""


def test_scores_are_uploaded_once_with_their_samples_and_lineage(tmp_path: Path, server: WandbServer) -> None:
    assert [one.how for one in publish([scores(tmp_path)])] == ["shown"], log_file(tmp_path, "wandb").read_text()
    run, lines = server.runs["score-" + ID], server.lines
    assert run.summary["gsm8k/score"] == 41.5
    table = server.table(run.name, "samples/gsm8k")
    assert (table["columns"], table["data"][0]) == (["item", "correct", "answer"], ["a/1", False, "7"])
    assert set(run.used) == {"model-" + ID}
    assert "answers-1_of_us" in run.made, "a name that no artifact can have"
    assert [alert["title"] for alert in run.alerts] == ["sweep finished"]
    asked = server.asked.total()
    assert [one.how for one in publish([scores(tmp_path)])] == ["there"]
    assert server.asked.total() == asked, "a server was asked for what is known to be there"
    (tmp_path / "wandb" / wandb.UPLOADED).unlink()
    assert [one.how for one in publish([scores(tmp_path)])] == ["there"]
    assert server.lines == lines
    assert [one.how for one in publish([scores(tmp_path, 42.0)])] == ["shown"]
    assert run.summary["gsm8k/score"] == 42.0
    assert len(server.runs) == 1


def dies(server: WandbServer) -> Trouble:
    def at_first_lines(name: str) -> int:
        if name == "file_stream":
            server.die()
        return 0

    return at_first_lines


# The last ones are W&B's own words, where it had the time to give up.
NO_ANSWER = "had not answered when training ended|[Tt]imed out|giving up|deadline"
ILL: dict[str, tuple[Callable[[WandbServer], Trouble], str]] = {
    "hangs": (lambda _: lambda _: -1, NO_ANSWER),
    "401": (lambda _: lambda _: 401, "401"),
    "409": (lambda _: lambda name: 409 if name == "UpsertBucket" else 0, NO_ANSWER),
    "429": (lambda _: lambda _: 429, NO_ANSWER),
    "500": (lambda _: lambda _: 500, NO_ANSWER),
    "takes no lines": (lambda _: lambda name: 400 if name == "file_stream" else 0, "took not all of it"),
    "dies": (dies, ""),
}


@pytest.mark.slow
def test_training_is_unharmed_by_a_server_that_is_ill_and_sync_makes_up_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stage before each server, all at the same time."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with ExitStack() as stack:
        servers = {how: stack.enter_context(WandbServer()) for how in ILL}
        mirrors = {how: begun(tmp_path / how, servers[how], how, monkeypatch) for how in ILL}
        steps = train_until_asked(tmp_path, servers)
        started = time.monotonic()
        with ThreadPoolExecutor(len(ILL)) as pool:
            list(pool.map(lambda mirror: mirror.close(FINISH_SECONDS, Ending()), mirrors.values()))
        assert time.monotonic() - started < FINISH_SECONDS + 2
        assert services(tmp_path) == [], "something of W&B's outlives the mirrors"
        for how, server in servers.items():
            folder = tmp_path / how
            told = log_file(folder, "wandb").read_text() + problems.problem_of(folder)
            assert re.search(ILL[how][1], problems.problem_of(folder)), (how, told)
            assert len(problems.problem_of(folder)) > 10, (how, told)
            assert KEY not in told
            if how == "dies":
                continue
            if how != "takes no lines":
                assert steps_of(inspect(folder)) == steps, (how, told)
            goes_up_once(folder, server, steps, monkeypatch)


def begun(folder: Path, server: WandbServer, how: str, monkeypatch: pytest.MonkeyPatch) -> Mirror:
    """The mirror of a stage before a server that is ill; training waits for none."""
    folder.mkdir()
    server.trouble = ILL[how][0](server)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    started = time.monotonic()
    mirror = TRACKERS.get("wandb").open(training(folder))
    assert time.monotonic() - started < 2
    return mirror


def train_until_asked(store: Path, servers: Mapping[str, WandbServer]) -> list[int]:
    """Steps of every stage, until all servers were asked something, and a little longer."""
    files = [Metrics(store / how) for how in servers]
    until, step = time.monotonic() + 120, 0
    while time.monotonic() < until:
        step += 1
        for file in files:
            file.write({"step": step, "steps": 9999, "loss": 1.0})
        time.sleep(0.2)
        if until > time.monotonic() + 5 and all(server.asked for server in servers.values()):
            until = time.monotonic() + 5
    for file in files:
        file.close()
    return list(range(1, step + 1))


def goes_up_once(folder: Path, server: WandbServer, steps: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    server.trouble = lambda _: 0
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    log = log_file(folder, "wandb")
    assert [one.how for one in publish([training(folder, now=True)])] == ["shown"], log.read_text()
    assert server.runs[ID].steps() == steps
    assert problems.problem_of(folder) == ""
    lines = server.lines
    assert [one.how for one in publish([training(folder, now=True)])] == ["there"]
    assert server.lines == lines


@pytest.mark.slow
def test_two_ranks_that_take_themselves_for_the_first_show_one_run_once(tmp_path: Path, server: WandbServer) -> None:
    folder = tmp_path / "stage"
    folder.mkdir()
    mirrors = [TRACKERS.get("wandb").open(training(folder)) for _ in range(2)]
    metrics = Metrics(folder)
    for step in range(1, 6):
        metrics.write({"step": step, "steps": 5, "loss": 1.0})
    metrics.close()
    with ThreadPoolExecutor() as ranks:  # at once, as ranks do: either may be the one that the other waits for
        list(ranks.map(lambda mirror: mirror.close(60, Ending()), mirrors))
    assert server.runs[ID].steps() == [1, 2, 3, 4, 5], log_file(folder, "wandb").read_text()
    assert server.lines == 5
    assert "another process shows this run too" in problems.problem_of(folder)


@pytest.mark.slow
def test_a_run_that_somebody_deleted_goes_on_under_another_id(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "3")
    server.deleted.add("score-" + ID)
    assert [one.how for one in publish([scores(tmp_path)])] == ["shown"], log_file(tmp_path, "wandb").read_text()
    assert list(server.runs) == [f"score-{ID}-2"]
