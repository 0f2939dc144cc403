"""The order of the house, what planning must not load, and that every file of conf/ is used."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import pytest
from common import ROOT, Points

from sft_sweeps.benchmarks import registry as benchmarks
from sft_sweeps.config.checks import problems
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Shape

HEAVY = ("torch", "transformers", "datasets", "wandb", "deepspeed")
GROUPS = {
    "benchmark": sum(bool(one.settings) for one in benchmarks.own().values()),  # a file each, and no other
    "analysis": 2,
    "cluster": 5,
    "data": 17,
    "debug": 4,
    "deepspeed": 3,
    "evaluate": 5,
    "grid": 2,
    "model": 18,
    "source": 13,
    "strategy": 6,
    "study": 23,
    "tracking": 4,
    "train": 4,
}
ONCE = (
    "benchmark",
    "source",
    "strategy",
    "study",
)  # composed in lines of their own; test_plan plans every study


def modules() -> dict[str, Path]:
    package = ROOT / "sft_sweeps"
    paths = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in paths}


def test_every_room_is_in_the_rule() -> None:
    """`make lint` runs the layer rule; a room that is not listed there would not be checked."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    listed = [room for layer in layers for room in layer.split(" | ")]
    rooms = {name.split(".")[0] for name in modules()}
    assert sorted(listed) == sorted(rooms)
    assert len(modules()) >= 100


def test_packages_are_empty() -> None:
    """`import sft_sweeps.x` must not drag its neighbours in."""
    inits = [path for path in (ROOT / "sft_sweeps").rglob("__init__.py") if path.parent.name != "sft_sweeps"]
    assert len(inits) >= 6
    assert [path for path in inits if ast.parse(path.read_text()).body[1:]] == []
    assert not (ROOT / "hydra_plugins" / "__init__.py").exists()


SCRIPT = f"""
import json, runpy, sys
from pathlib import Path
def status(call):
    try:
        return call()
    except SystemExit as end:
        return end.code
sys.argv = ["launch.py", "study=quickstart", "action=plan", "plan.output=plan.json"]
planned = status(lambda: runpy.run_path({str(ROOT / "launch.py")!r}, run_name="__main__"))
from sft_sweeps.commands.main import main
asked = status(lambda: main(["status", "--output-dir", "absent"]))
heavy = [name for name in {HEAVY!r} if name in sys.modules]
ours = sum(name.startswith("sft_sweeps") for name in sys.modules)
Path("seen.json").write_text(json.dumps([planned, asked, heavy, ours]))
"""


def test_planning_and_status_load_nothing_heavy(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    planned, asked, heavy, ours = json.loads((tmp_path / "seen.json").read_text())
    assert (planned, asked, heavy) == (0, 2, [])
    assert ours >= 12
    assert len(json.loads((tmp_path / "plan.json").read_text())["stages"]) == 10


def test_the_command_line_starts_with_nothing_heavy() -> None:
    """Before any command is known: every one of them waits for it."""
    heavy = {*HEAVY, "hydra", "httpx", "numpy", "omegaconf", "rich", "submitit", "tokenizers", "yaml"}
    code = "import sys, sft_sweeps.commands.main; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.split()) == set()


def conf_files() -> list[Path]:
    return sorted(path for path in (ROOT / "conf").rglob("*.yaml") if path.parent.name != "local")


def test_every_group_is_counted() -> None:
    found: dict[str, int] = {}
    for path in conf_files():
        found[path.parent.name] = found.get(path.parent.name, 0) + 1
    assert found == {**GROUPS, "conf": 1}


def test_every_benchmark_with_settings_has_its_file() -> None:
    named = {name for name, benchmark in benchmarks.own().items() if benchmark.settings}
    assert set(choices("benchmark")) == named


@pytest.mark.parametrize("path", conf_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_file_says_what_it_is_for(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = lines[1] if lines[0] == "# @package _global_" else lines[0]
    assert first.startswith("# ")
    assert len(first) > 10
    assert max(map(len, lines)) <= 132


def choices(group: str) -> list[str]:
    return [path.stem for path in conf_files() if path.parent.name == group]


def lines() -> Iterator[list[str]]:
    """Command lines that choose every file once; a composition costs a quarter of a second, so many are in one line."""
    first, *others = choices("source")
    added = [f"+source@data.sources.{name}={name}" for name in others]
    yield ["data=math", f"source@data.sources.math={first}", *added, "data.sources.file.path=mine.jsonl"]
    yield from ([f"strategy={name}"] for name in choices("strategy"))
    yield [f"benchmark@evaluate.{name}={name}" for name in choices("benchmark")]
    columns = [[f"{group}={name}" for name in choices(group)] for group in GROUPS if group not in ONCE]
    yield from ([choice for choice in row if choice] for row in zip_longest(*columns))


def test_every_choice_is_composed(points: Points, tmp_path: Path) -> None:
    materialise(Shape(16, 16, 16, 1, 1, 9, 4096), 0, [], tmp_path / "model")
    folder = [f"model.folder={tmp_path / 'model'}"]  # of which `hf` takes the shape
    composed = 0
    for line in lines():
        for point in points(*line, *(folder if "model=hf" in line else ())):
            assert problems(point.config) == [], line
        composed += sum("@" in choice or choice.split("=")[0] in GROUPS for choice in line)
    assert composed == sum(GROUPS.values()) - GROUPS["study"] + len(["data=math"])


def test_the_wheel_has_every_kind_of_file_that_the_package_has() -> None:
    """A kind that is forgotten here is missed only where the package is installed."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    shipped = settings["package-data"]["*"]
    files = [path for path in (ROOT / "sft_sweeps").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert [path.name for path in files if not any(path.match(pattern) for pattern in shipped)] == []
    assert len(files) > 5


def test_nothing_lies_at_the_top_but_what_belongs_there() -> None:
    """A command of the docs, tried at the top, leaves its files there."""
    listed = subprocess.run(["git", "ls-files", "--cached"], cwd=ROOT, capture_output=True, text=True, check=False)
    tracked = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    if not tracked:
        pytest.skip("NOT RUN: this is no checkout of git")
    of_tools = {"requirements.lock", "setup.py", "pyproject.toml", "Makefile", "MANIFEST.in", "CITATION.cff", "LICENSE"}
    of_ours = {"conf", "sft_sweeps", "launch.py", "tests", "multirun_outputs", "hydra_plugins", "bench", "docs"}
    pages = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
    hidden = {".ci", ".git-blame-ignore-revs", ".gitignore", ".pre-commit-config.yaml"}
    assert tracked <= of_tools | of_ours | pages | hidden
