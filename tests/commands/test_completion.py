"""The Tab key: what real shells are told of a line, by the code that `sft-sweeps completion` prints."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT

from sft_sweeps.commands.main import main

ASK = """
eval "$CODE"
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}; COMP_TYPE=9; COMP_WORDS=($1)
_python_argcomplete sft-sweeps "" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store, a source of its own, and `sft-sweeps` on the path."""
    program = tmp_path / "bin" / "sft-sweeps"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
                       "from sft_sweeps.commands.main import main\nsys.exit(main())\n")  # fmt: skip
    program.chmod(0o755)
    store = tmp_path / "multirun_outputs"
    for name in ("sweeps/20260101-120000-first-aaaaaa", "sweeps/20260102-120000-second-bbbbbb",
                 "stages/mini--math-4adbe00e80bd", "models/mini-d65e98820b9e"):  # fmt: skip
        (store / name).mkdir(parents=True)
    (tmp_path / "conf" / "source").mkdir(parents=True)
    (tmp_path / "conf" / "source" / "mine.yaml").write_text("")
    (tmp_path / "mine.jsonl").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def code(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def tab(line: str, text: str) -> set[str]:
    """What bash would offer."""
    environment = {**os.environ, "CODE": text}
    done = subprocess.run(["bash", "--norc", "-c", ASK, "bash", line], env=environment, capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip
    return {word.strip() for word in done.stdout.splitlines()}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("line", "offers", "not_offered"),
    [
        ("sft-sweeps sta", {"status"}, {"launch"}),
        ("sft-sweeps status ", {"20260101-120000-first-aaaaaa", "second-bbbbbb"}, {"mini--math"}),
        ("sft-sweeps show ", {"mini--math", "4adbe00e80bd", "mini"}, {"first-aaaaaa"}),
        ("sft-sweeps score gsm8k --pa", {"--partial"}, {"--out"}),
        ("sft-sweeps launch stra", {"strategy=", "strategy."}, {"study="}),
        ("sft-sweeps launch +source@data.sources.x=mi", {"mine", "mini_math"}, {"gsm8k"}),
        ("sft-sweeps launch -m action=plan model=mini,llama7", {"mini,llama7b"}, {"llama7b"}),
        ("sft-sweeps launch data.sources.math.system_turns=", {"render", "refuse", "drop"}, set()),
        ("sft-sweeps source add m", {"mine.jsonl"}, set()),
        ("sft-sweeps doctor data mo", {"model", "model="}, {"gpu"}),
    ],
)
def test_what_bash_offers(
    line: str, offers: set[str], not_offered: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = tab(line, code("bash", capsys))
    assert found >= offers
    assert not found & not_offered


def test_the_other_shells_read_their_code(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = 0
    for shell in filter(shutil.which, ("zsh", "fish")):
        assert main(["completion", shell, "--install"]) == 0
        subprocess.run([shell, "-ic", "true"], check=True, capture_output=True, timeout=60, cwd=here)
        seen += 1
    capsys.readouterr()
    if shutil.which("fish"):
        asked = subprocess.run(
            ["fish", "-c", "complete -C 'sft-sweeps sta'"], capture_output=True, text=True, check=True
        )
        assert asked.stdout.startswith("status\t")
    if not seen:
        pytest.skip("NOT RUN: neither zsh nor fish is installed here; bash is tested")


def test_installing_twice_changes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / ".bashrc").write_text("export A=1")
    for _ in range(2):
        assert main(["completion", "bash", "--install", "--json"]) == 0
    first, second = capsys.readouterr().out.split("}\n{")
    own = (here / ".bashrc").read_text()
    assert own.startswith("export A=1\n[ -r ")
    assert own.count("completion of sft-sweeps") == 1
    assert json.loads(first + "}")["written"] == [
        str(here / ".local/share/sft-sweeps/completion.bash"),
        str(here / ".bashrc"),
    ]
    assert str(here / ".bashrc") not in second
    done = subprocess.run(["bash", "-ic", "complete -p sft-sweeps"], capture_output=True, text=True, check=True)
    assert "_python_argcomplete" in done.stdout


def test_a_shell_that_is_not_known(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["completion"]) == 2
    assert "error name your shell: sft-sweeps completion bash|zsh|fish" in capsys.readouterr().err
    assert main(["completion", "fisch"]) == 2
    assert "did you mean fish?" in capsys.readouterr().err
