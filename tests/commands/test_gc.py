"""`sft-sweeps gc`: dry by default, and what it says."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from outcomes import finished

from sft_sweeps.commands.main import main
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import PLAN
from sft_sweeps.store.usage import usage


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def asked(capsys: pytest.CaptureFixture[str], store: Store, *arguments: str) -> Any:
    assert main(["gc", *arguments, "--output-dir", str(store.root), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def files(store: Store) -> list[str]:
    return sorted(str(path) for path in store.root.rglob("*"))


def test_dry_by_default_then_freed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    _, sweep = finished(store, "mine", "code", "math")
    finished(store, "other", "code")
    shutil.rmtree(sweep.folder)
    (orphan,) = usage(store.root).unasked()
    before = files(store)
    found = asked(capsys, store)
    assert (found["items"], found["younger"]["items"], found["younger"]["bytes"]) == ([], 1, orphan.bytes)
    found = asked(capsys, store, "--older-than", "0")
    (item,) = found["items"]
    assert (item["what"], item["bytes"], item["state"], found["bytes"]) == (
        orphan.name,
        orphan.bytes,
        "can go",
        orphan.bytes,
    )
    assert (found["schema"], found["freed"]) == (1, False)
    assert asked(capsys, store, "--older-than", "0", "--only", "code,resume")["items"] == []
    assert files(store) == before
    assert main(["gc", "--older-than", "0", "--output-dir", str(store.root)]) == 0
    said = capsys.readouterr().out
    assert all(
        text in said for text in ("orphans", "in no sweep's plan (done)", "1 thing can go", "until you add --yes")
    )
    found = asked(capsys, store, "--older-than", "0", "--yes")
    assert [item["state"] for item in found["items"]] == ["freed"]
    assert usage(store.root).unasked() == []
    assert asked(capsys, store, "--older-than", "0", "--yes")["items"] == []
    assert main(["gc", "--output-dir", str(store.root)]) == 0
    assert capsys.readouterr().out == "nothing can go\n"


def test_what_cannot_be_removed_is_said(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, sweep = finished(store, "mine", "math")
    shutil.rmtree(sweep.folder)

    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", refused)
        assert main(["gc", "--yes", "--older-than", "0", "--output-dir", str(store.root)]) == 1
    said = capsys.readouterr().out
    assert "it cannot be moved (Permission denied)" in said
    assert "freed 0 B in 0 things; 2 things stayed" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "resume,model"], "--only has no kind 'model'; valid: unfinished, resume, models"),
        (["--older-than", "week"], "--older-than week: a number with its unit"),
        (["--older-than", "7"], "--older-than 7: a number with its unit"),
    ],
)
def test_bad_requests(arguments: list[str], said: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    finished(store, "mine", "math")
    assert main(["gc", *arguments, "--output-dir", str(store.root)]) == 2
    assert said in capsys.readouterr().err


def test_no_store_and_a_plan_that_cannot_be_read(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gc", "--output-dir", str(store.root)]) == 2
    assert "--output-dir FOLDER" in capsys.readouterr().err
    _, sweep = finished(store, "mine", "math")
    (sweep.folder / PLAN).write_text('{"runs": [')
    before = files(store)
    assert main(["gc", "--yes", "--older-than", "0", "--output-dir", str(store.root)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"delete {sweep.folder} if it is given up" in said
    assert files(store) == before
