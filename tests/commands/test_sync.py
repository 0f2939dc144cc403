"""`sft-sweeps sync`: a sweep is at the server once, however often it is typed; and what it says where it cannot be."""

import json
from pathlib import Path

import pytest
from made_sweeps import made
from values import benchmark, mixed, request
from wandb_server import WandbServer

from sft_sweeps.commands.main import main
from sft_sweeps.execution import Tracking
from sft_sweeps.plan.build import build
from sft_sweeps.tracking import remembered

KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    plan = build([("strategy=multi_task", request(mixed(), benchmarks=(benchmark(ability="math"),)))])
    sweep = made(tmp_path, plan, lambda _: [index < 3 for index in range(8)], "table1")
    remembered.remember(sweep.folder, Tracking("wandb", "table1", "", "auto", sweep.name, ("table1",)))
    return tmp_path


@pytest.fixture(autouse=True)
def _nobodys_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "absent"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def test_twice_uploads_once(store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert main(["sync", "--output-dir", str(store), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert [run["how"] for run in told["runs"]] == ["shown"] * 5, told
        assert [run["job_type"] for run in told["runs"]] == ["prepare", "train", "generate", "score", "report"]
        assert server.runs.keys() == {run["id"] for run in told["runs"]}
        trained = next(run for run in server.runs.values() if run.fields["jobType"] == "train")
        assert trained.steps() == list(range(1, 31))
        assert {run.project for run in server.runs.values()} == {"table1"}
        used = set().union(*(run.used for run in server.runs.values()))
        assert {name.partition("-")[0] for name in used} == {"source", "model", "answers"}
        lines, asked = server.lines, server.asked.total()
        assert main(["sync", "--output-dir", str(store)]) == 0
        assert "wandb: 5 runs there already" in capsys.readouterr().out
        assert (server.lines, server.asked.total()) == (lines, asked)


def test_without_a_key_it_is_said_what_to_type(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", "--output-dir", str(store)]) == 2
    assert "no key of Weights & Biases is found; type: wandb login" in capsys.readouterr().err
    assert main(["sync", "--output-dir", str(store), "--tracker", "wandbee"]) == 2
    assert "did you mean wandb?" in capsys.readouterr().err
    assert main(["sync", "--output-dir", str(store), "--project", "a/b"]) == 2
    assert "--project a/b is no project" in capsys.readouterr().err


def test_a_sweep_that_is_tracked_nowhere_needs_a_tracker(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in store.glob("sweeps/*/tracking.json"):
        path.unlink()
    assert main(["sync", "--output-dir", str(store)]) == 2
    assert "was launched with tracking=none; name a tracker: --tracker wandb" in capsys.readouterr().err
    assert main(["sync", "--output-dir", str(store), "--tracker", "none"]) == 2
    assert "error --tracker none shows nothing; name a tracker" in capsys.readouterr().err


def test_a_server_that_refuses_is_one_line_and_the_exit_status(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with WandbServer() as server:
        server.trouble = lambda _: 401
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert main(["sync", "--output-dir", str(store)]) == 1
    out = capsys.readouterr().out
    assert "wandb: 5 runs not shown" in out
    assert "401" in out
    assert KEY not in out
