"""The README's commands and lists are true."""

import re
import shlex
from pathlib import Path

import pytest
from common import ROOT, Points

from sft_sweeps.config.checks import problems
from sft_sweeps.strategies import STRATEGIES

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The overrides of every `python launch.py` in a code block, continued lines joined."""
    blocks = TEXT.replace("\\\n", " ")
    found = re.findall(r"^ {4}(?:\$ )?python launch\.py (.*)$", blocks, flags=re.MULTILINE)
    return [shlex.split(line, comments=True) for line in found]


def test_every_command_composes(points: Points) -> None:
    assert len(commands()) >= 5
    for overrides in commands():
        if "--help" not in overrides:
            for point in points(*(o for o in overrides if o != "-m")):
                assert problems(point.config) == [], overrides


def test_the_table_of_groups_lists_every_choice() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT, flags=re.MULTILINE)
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "local"}
    assert {name for name, _ in rows} == groups
    for name, cell in rows:
        listed = set(re.findall(r"`([\w*]+)`", cell))
        for path in (ROOT / "conf" / name).glob("*.yaml"):
            table = re.fullmatch(r"table\d", path.stem) and "..." in cell
            assert path.stem in listed or table or ("mini_*" in listed and path.stem.startswith("mini_")), path


PLACES = set(re.findall(r"`((?:conf|sft_sweeps|tests)/[\w/.]+)`", TEXT)) - {"conf/local/default.yaml"}  # the user's own


@pytest.mark.parametrize("name", sorted(PLACES))
def test_every_path_is_there(name: str) -> None:
    assert (ROOT / Path(name)).exists()


def test_every_strategy_is_explained() -> None:
    assert all(f"`{name}`" in TEXT for name in STRATEGIES.names)


def test_the_makefile_has_the_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", TEXT)):
        assert f"\n{target}:" in makefile, target
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
