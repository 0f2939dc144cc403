"""`sft-sweeps audit` on a terminal and as JSON."""

import json
from pathlib import Path

import pytest

from sft_sweeps.analysis.paper import TABLES
from sft_sweeps.commands.main import main


def test_the_papers_tables_are_audited_by_name_or_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--paper"]) == 0
    shown = capsys.readouterr().out
    assert "gsm8k llama33b is probably of 165 items, not 1,319: 7 of 12" in shown
    assert "humaneval: 1 of 9 orderings could be significant" in shown
    assert main(["audit", str(TABLES), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert found["cells"] == 259
    assert len(found["off_grid"]) == 16
    assert found["reference"]["matches"][0]["reference"]["row"] == "RFT-U33B"


def test_a_table_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "[b]t.csv"
    path.write_text("method,7B gsm8k\n[red]ours,47.53\n=1+1,41.98\nold,n/a\n", encoding="utf-8")
    assert main(["audit", str(path), "--claim", "[red]ours > =1+1"]) == 0
    shown = capsys.readouterr().out
    assert "553/1319 = 41.93, 554/1319 = 42.00" in shown
    assert "[red]ours" in shown
    assert "1 cell left out" in shown
    assert "gsm8k: 1 of 1 ordering could be" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "path of one table, or --paper"),
        (["no.csv"], "no.csv cannot be read"),
        (["--paper", "--n", "gsm8k=100"], "leave out --n"),
        (["t.csv", "--n", "mbpp"], "--n mbpp=500"),
        (["t.csv", "--n", "mbpp=0"], "--n mbpp=500"),
        (["t.csv", "--scan", "1400:50"], "--scan 50:1400"),
        (["t.csv", "--discordant", "20"], "--discordant 20.0"),
        (["t.csv", "--discordant", "nan"], "--discordant nan"),
        (["t.csv", "--claim", "a"], "is no ordering"),
        (["t.csv", "--against", "a"], "no such row"),
        (["t.csv", "--reference", "no.csv"], "no.csv cannot be read"),
    ],
)
def test_wrong_requests(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("method,gsm8k\nx,50.0\n", encoding="utf-8")
    assert main(["audit", *arguments]) == 2
    assert message in capsys.readouterr().err
