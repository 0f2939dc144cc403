"""The README's lists are complete; its commands and links are tested with those of docs/ (test_docs.py)."""

import re

from common import ROOT

from sft_sweeps.strategies import STRATEGIES

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_groups_lists_every_choice() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", TEXT, flags=re.MULTILINE)
    groups = {path.name for path in (ROOT / "conf").iterdir() if path.is_dir() and path.name != "local"}
    assert {name for name, _ in rows} == groups
    for name, cell in rows:
        listed = set(re.findall(r"`([\w*]+)`", cell))
        for path in (ROOT / "conf" / name).glob("*.yaml"):
            table = "..." in cell and (re.fullmatch(r"(table|figure)\d", path.stem) or name == "benchmark")
            assert path.stem in listed or table or ("mini_*" in listed and path.stem.startswith("mini_")), path


def test_every_strategy_is_explained() -> None:
    assert all(f"`{name}`" in TEXT for name in STRATEGIES.names)


def test_the_makefile_has_the_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"\bmake (\w+)", TEXT)):
        assert f"\n{target}:" in makefile, target
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
