"""How commands are found: a file each, and those of other distributions; none waits for another's imports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT

from sft_sweeps.commands import command

PLUGIN = """
from sft_sweeps.commands.command import Command

def run(options):
    print(f"greetings to {options.name}")
    return 3

COMMAND = Command("greet", "greet somebody", run, lambda parser: parser.add_argument("name"))
"""


def test_a_command_is_called_like_its_file() -> None:
    commands = command.own_commands()
    assert commands.keys() >= {"status", "report", "logs", "cancel", "score", "doctor", "launch", "init", "help"}
    assert all(command.find(name) == one for name, one in commands.items())
    assert set(commands) <= set(command.modules())


def test_what_the_overview_says_of_a_command_is_what_the_command_says() -> None:
    """It is read from the text of the files."""
    assert command.summaries() == {name: (one.help, one.topic) for name, one in command.own_commands().items()}


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a command line imports."""
    program = "import json, sys\nfrom sft_sweeps.commands.main import main\ntry:\n    main(sys.argv[1:])\n"
    program += "except SystemExit:\n    pass\nprint(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_listing_commands_loads_none_of_them() -> None:
    heavy = {"torch", "transformers", "datasets", "wandb", "deepspeed", "hydra", "httpx", "numpy", "rich"}
    for line in (["--help"], ["--version"], ["statsu"], []):
        assert loaded_by(*line) & (heavy | {"sft_sweeps.commands.report"}) == set(), line
    assert "sft_sweeps.commands.report" not in loaded_by("status", "--help")
    assert loaded_by("launch", "--help") & heavy == set()


def test_no_command_loads_what_takes_long_before_it_is_run() -> None:
    """Their manual pages come at once, and so does what is wrong with a line."""
    slow = {
        "torch",
        "transformers",
        "datasets",
        "wandb",
        "hydra",
        "httpx",
        "numpy",
        "scipy",
        "tokenizers",
        "matplotlib",
    }
    code = "import sys; from sft_sweeps.commands.command import find, summaries\n"
    code += "list(map(find, summaries()))\nprint(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert slow & set(done.stdout.split()) == set()


@pytest.fixture
def run(tmp_path: Path):
    """`sft-sweeps` with a distribution on its path that has a command, and one that cannot be imported."""
    entries = "[sft_sweeps.commands]\ngreet = greeting:COMMAND\n"
    info = tmp_path / "greeting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)
    (tmp_path / "greeting.py").write_text(PLUGIN)

    def command_line(*arguments: str, broken: bool = False) -> subprocess.CompletedProcess[str]:
        if broken:
            (tmp_path / "greeting.py").write_text("raise ImportError('no such library')\n")
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        line = [sys.executable, "-m", "sft_sweeps.commands.main", *arguments]
        return subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return command_line


def test_the_command_of_another_distribution(run) -> None:
    done = run("greet", "Ada")
    assert (done.returncode, done.stdout) == (3, "greetings to Ada\n")
    assert "greet somebody" in run("--help").stdout


def test_a_broken_distribution_leaves_our_commands_alone(run) -> None:
    done = run("status", broken=True)
    assert (done.returncode, "no sweep in" in done.stderr) == (2, True)
    done = run("greet", broken=True)
    assert done.returncode == 2
    assert "command greet of greeting 1.0 (greeting:COMMAND) cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr
