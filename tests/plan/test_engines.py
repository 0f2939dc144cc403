"""Engines by name: what is known of this package's, and one of another distribution, asked in a process of its own."""

import importlib.util
import sys
from pathlib import Path

import pytest
from training import SHAPE

from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.generate import replicas
from sft_sweeps.generate.engine import greedy
from sft_sweeps.generate.replicas import opened
from sft_sweeps.models.init import materialise
from sft_sweeps.plan import engines
from sft_sweeps.plan.engines import ENGINES, Held
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.spec.training import Shape

BACKEND = """
from sft_sweeps.plan.engines import Backend

BACKEND = Backend("echo", "Echo", lambda python: "3.1", lambda shape, gpus: [gpus], "nothing is", "their_server")
"""
SERVER = """
class Served:
    def __init__(self, settings):
        self.version = "3.1"

    def generate(self, asked, send):
        for index, ids in enumerate(asked["prompts"]["ids"]):
            send({"index": index, "ids": ids[: asked["prompts"]["limits"][index]], "finished": True})
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with an engine, as an installer would leave it."""
    info = tmp_path / "theirs-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{ENGINES.group}]\necho = their_backend:BACKEND\n")
    (tmp_path / "their_backend.py").write_text(BACKEND)
    (tmp_path / "their_server.py").write_text(SERVER)
    monkeypatch.syspath_prepend(str(tmp_path))
    fresh = type(ENGINES)(ENGINES.kind, ENGINES.group, ENGINES.own)
    for module in (engines, replicas):
        monkeypatch.setattr(module, "ENGINES", fresh)


def test_each_engine_is_known_by_its_own_name_and_its_modules_are_there() -> None:
    assert set(ENGINES.names) >= {"hf", "vllm"}
    for name, backend in ENGINES.all.items():
        assert backend.name == name
        for module in filter(None, (backend.serves, backend.in_process.partition(":")[0])):
            assert importlib.util.find_spec(module), f"{name} names {module}"
    with pytest.raises(RequestError, match=r"engine vlm is unknown; valid: hf, vllm"):
        ENGINES.get("vlm")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that a model can be loaded from: any engine's is looked at before."""
    materialise(SHAPE, 0, [], tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.usefixtures("theirs")
def test_another_distribution_adds_an_engine(model: Path) -> None:
    held = Held("any", Shape(8, 8, 2, 4, 4, 32, 64), "bf16", "echo")
    assert held.size(3, 80.0) == 3
    made = opened(model, Engine("echo", "3", "bf16"), ["", ""], label="any", python=sys.executable)
    try:
        answers = made.generate(greedy([[5, 6, 7], [8], [9, 10]], 2, 0), 4)
        assert [answer.ids for answer in answers] == [[5, 6], [8], [9, 10]]
        with pytest.raises(RunError, match=r"evaluate\.engine=echo takes no losses"):
            made.losses([])
    finally:
        made.close()


@pytest.mark.usefixtures("theirs")
def test_another_version_than_the_planned_one_is_refused(model: Path) -> None:
    made = opened(model, Engine("echo", "2", "bf16"), [""], label="any")
    with pytest.raises(RunError, match=r"echo 3\.1 is installed, but evaluate\.engine_version=2"):
        made.generate(greedy([[5]], 1, 0), 1)
