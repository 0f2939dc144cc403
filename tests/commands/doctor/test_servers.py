"""W&B and a judge are asked whether they take the key, for nothing; the key is in no answer of ours."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from common import Points

from sft_sweeps.commands.doctor import judge, wandb
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.config.cluster_schema import ClusterConfig

KEY = "k-0123456789abcdefghij"
VIEWER = {"data": {"viewer": {"username": "anna", "entity": "lab"}}}
MODELS = {"data": [{"id": "gpt-4-0613"}, {"id": "other"}]}


@dataclass
class Server:
    """Answers each request with `status` and `said`; remembers headers."""

    status: int = 200
    said: Any = None
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            server.asked.append((self.command, self.path, self.headers.get("Authorization", "")))
            if server.status == 0:
                time.sleep(3)
                return
            text = json.dumps(server.said).encode()
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(wandb, "PATIENCE", 1.0)
    monkeypatch.setattr(judge, "PATIENCE", 1.0)


def asked(topic: Any, points: Points, *overrides: str) -> dict[str, Finding]:
    request = DoctorRequest(Path("none"), ClusterConfig(), tuple(points(*overrides)), overrides)
    found = {one.about: one for one in topic.asked(request)}
    assert not any(KEY in f"{one.text}{one.change}" for one in found.values())
    return found


@pytest.mark.parametrize(
    ("status", "said", "level", "says"),
    [
        (200, VIEWER, "ok", "knows the key as anna's"),
        (200, {"data": {"viewer": None}}, "problem", "refuses the key"),
        (401, {}, "problem", "refuses the key"),
        (500, {}, "warning", "answers with 500"),
        (0, None, "warning", "does not answer"),
    ],
)
def test_wandb(  # noqa: PLR0917
    status: int, said: Any, level: str, says: str, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with serving(Server(status, said)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        found = asked(wandb, points, "tracking=wandb")
    assert (found["server"].level, says in found["server"].text) == (level, True), found["server"]
    ((command, path, header),) = server.asked
    assert (command, path) == ("POST", "/graphql")
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == f"api:{KEY}"


def test_wandb_without_a_key_a_mode_or_a_wish(points: Points, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert asked(wandb, points, "tracking=wandb")["key"].level == "warning"
    assert asked(wandb, points, "tracking=none")["tracking"].level == "ok"
    assert asked(wandb, points, "tracking=wandb", "tracking.mode=offline")["mode"].level == "ok"
    monkeypatch.setenv("WANDB_MODE", "on line")
    assert asked(wandb, points, "tracking=wandb")["mode"].level == "problem"
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login user password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    found = asked(wandb, points, "tracking=wandb")
    assert found["key"].text == f"one is in {tmp_path / 'netrc'}"
    assert (found["server"].level, "does not answer" in found["server"].text) == ("warning", True)


JUDGED = ("model=mini", "data=mini_math", "train=mini", "evaluate.benchmarks=[mt_bench]", "tracking=none")
JUDGED += ("evaluate.mt_bench.judge.model=gpt-4-0613",)


@pytest.fixture
def judged(points: Points, tmp_path: Path) -> Callable[[str], dict[str, Finding]]:
    """The findings about a judge at an address."""
    for name in ("question", "judge_prompts", "gpt-4"):
        (tmp_path / f"{name}.jsonl").write_text("{}\n")
    return lambda url: asked(judge, points, *JUDGED, f"evaluate.mt_bench.judge.base_url={url}")


@pytest.mark.parametrize(
    ("status", "said", "level", "says"),
    [
        (200, MODELS, "ok", "answers and has gpt-4-0613"),
        (200, {"data": [{"id": "local"}]}, "problem", "has no gpt-4-0613"),
        (200, "hello", "ok", "answers"),
        (401, {}, "problem", "refuses the key (401)"),
        (404, {}, "warning", "answers with 404"),
        (0, None, "warning", "does not answer: no whole reply in 1 s"),
    ],
)
def test_a_judge(  # noqa: PLR0917
    status: int,
    said: Any,
    level: str,
    says: str,
    judged: Callable[[str], dict[str, Finding]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(Server(status, said)) as server:
        found = judged(f"{server.url}/v1")
    assert (found["endpoint"].level, says in found["endpoint"].text) == (level, True), found["endpoint"]
    assert server.asked == [("GET", "/v1/models", f"Bearer {KEY}")]


def test_a_judge_without_a_key_is_asked_nothing(judged: Callable[[str], dict[str, Finding]]) -> None:
    found = judged("https://judge.invalid/v1")
    assert found["key"].level == "warning"
    assert "endpoint" not in found


def test_nothing_is_judged(points: Points) -> None:
    assert asked(judge, points, "study=quickstart")["judge"].level == "ok"
