"""The command: which topics, of which launch, with which exit status."""

import json
from pathlib import Path

import pytest

from sft_sweeps.commands import main
from sft_sweeps.commands.doctor import topics
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest, Topic


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    status = main.main(["doctor", *words])
    return status, capsys.readouterr().out


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two topics, of which one is ill; the first has more that is well than is shown."""

    def well(_: DoctorRequest):
        yield from (Finding("ok", f"a{n}", "well") for n in range(9))
        yield Finding("warning", "b", "slow", "buy another")

    def ill(request: DoctorRequest):
        yield Finding("problem" if request.named else "warning", "c", "absent", "install it")

    for name in list(topics.TOPICS):
        monkeypatch.delitem(topics.TOPICS, name)
    monkeypatch.setitem(topics.TOPICS, "first", Topic("", well, 20.0))
    monkeypatch.setitem(topics.TOPICS, "second", Topic("", ill, 20.0))


@pytest.mark.usefixtures("pretended")
def test_all_one_or_some(capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody named is told and missed by nobody."""
    status, text = run(capsys)
    assert status == 0
    lines = text.splitlines()
    assert lines[0] == "first"
    assert lines[5:8] == [
        "warning b: slow; change: buy another",
        "ok      5 more: sft-sweeps doctor first",
        "second",
    ]
    assert lines[-1] == "0 problems, 2 warnings (first, second)"
    status, text = run(capsys, "second")
    assert (status, text.splitlines()[0]) == (1, "problem c: absent; change: install it")
    status, text = run(capsys, "first")
    assert (status, len(text.splitlines())) == (0, 11)


@pytest.mark.usefixtures("pretended")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = run(capsys, "second", "--json")
    finding = {"topic": "second", "level": "problem", "about": "c", "text": "absent", "change": "install it"}
    assert json.loads(text) == {"schema": 2, "topic": "second", "findings": [finding], "ok": False}
    assert status == 1
    assert json.loads(run(capsys, "--json")[1])["topic"] == "all"


def test_what_is_wrong_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["doctor", "gpuu"]) == 2
    assert "did you mean gpu?" in " ".join(capsys.readouterr().err.split())
    assert main.main(["doctor", "data", "study=tabel1"]) == 2
    assert "did you mean study=table1?" in " ".join(capsys.readouterr().err.split())


def test_a_launch_that_needs_nothing_and_one_that_lacks_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    status, text = run(capsys, "data", "model", "study=quickstart")
    assert (status, text.count("\nok "), "0 problems, 0 warnings" in text) == (0, 6, True)
    status, text = run(capsys, "data", "model", "model=llama7b", "data=mixed", "--json")
    assert status == 1
    found = json.loads(text)["findings"]
    levels = {one["about"]: one["level"] for one in found}
    assert levels["code_alpaca"] == "warning", "a launch fetches it"
    assert levels["data.sources.general"] == "problem", "a user must place it"
    assert levels["model=llama7b"] == "problem"
    status, text = run(capsys, "data", "model", "--json")
    assert status == 0, "nobody asked for that launch"
    assert list(tmp_path.iterdir()) == [], "nothing is written"
