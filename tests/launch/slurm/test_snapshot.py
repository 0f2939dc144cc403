"""The code that queued jobs run: kept once, untouched by later edits, with the commit and what differed from it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sft_sweeps.launch.slurm import snapshot


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed checkout with this package in it, which the snapshot is taken of."""
    root = tmp_path / "checkout"
    shutil.copytree(snapshot.PACKAGE, root / "sft_sweeps", ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        names = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", "-C", str(root), *names, *command], check=True)
    monkeypatch.setattr(snapshot, "PACKAGE", root / "sft_sweeps")
    return root


def about(code: Path) -> dict[str, object]:
    return dict(json.loads((code / snapshot.ABOUT).read_text()))


def test_equal_code_is_kept_once_and_an_edit_makes_a_new_one(checkout: Path, tmp_path: Path) -> None:
    first = snapshot.take(tmp_path / "sweep")
    assert snapshot.take(tmp_path / "sweep") == first
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert about(first)["commit"] == head.stdout.strip()
    assert about(first)["dirty"] is False
    (checkout / "sft_sweeps" / "errors.py").write_text("EDITED = True\n")
    (checkout / "sft_sweeps" / "new.py").write_text("NEW = True\n")
    second = snapshot.take(tmp_path / "sweep")
    assert second != first
    assert "EDITED" not in (first / "sft_sweeps" / "errors.py").read_text()
    assert about(second)["dirty"] is True
    assert about(second)["untracked"] == ["sft_sweeps/new.py"]
    assert "+EDITED = True" in (second / snapshot.DIFF).read_text()
    assert [path.name for path in (tmp_path / "sweep" / "code").iterdir() if path.name.startswith(".")] == []


def test_python_takes_the_snapshot_and_not_the_folder_it_stands_in(checkout: Path, tmp_path: Path) -> None:
    code = snapshot.take(tmp_path / "sweep")
    environment = os.environ | {"PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", "import sft_sweeps.plan.build; print(sft_sweeps.plan.build.__file__)"]
    found = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()) == code / "sft_sweeps" / "plan" / "build.py"


def test_without_git_the_code_is_kept_all_the_same(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".git")
    code = snapshot.take(tmp_path / "sweep")
    assert about(code) == {"version": about(code)["version"], "commit": "", "dirty": False, "untracked": []}
    assert (code / "sft_sweeps" / "data" / "mini_tokenizer.json").is_file()
