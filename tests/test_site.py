"""The docs as pages: each in the navigation once, every link and anchor leads somewhere, messages have sections."""

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from common import ROOT

from sft_sweeps import errors
from sft_sweeps.errors import SweepError

PACKAGE = ROOT / "sft_sweeps"
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ERRORS = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, SweepError)}
ROOMS = ("RequestError", "RunError")  # these are told by where they come from; of the others each has one meaning
OWN = {"Interrupted": "## Interrupted", "Superseded": "## Another start does this work"}


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "build_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_found_once(site: ModuleType) -> None:
    shown = [name for names in site.groups().values() for name in names]
    written = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    pages = [name for name in written if not name.startswith("docs/paper_mini/")]  # what a report wrote is no page
    assert sorted(shown) == sorted([*pages, "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])


def test_the_site_is_built_and_everything_leads_somewhere(tmp_path: Path) -> None:
    line = [sys.executable, str(ROOT / "docs" / "build_site.py"), str(tmp_path / "site")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    made = {path.name for path in (tmp_path / "site" / "docs").glob("*.html")}
    assert {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} <= made


def raised() -> Iterator[tuple[str, str, list[str]]]:
    """Of each error that the package raises: its file, its class, and the fixed parts of the texts in it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
                texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant)]
                yield path.relative_to(ROOT).as_posix(), node.func.id, [t for t in texts if isinstance(t, str)]


def sections() -> dict[str, list[str]]:
    """Each heading with the places that it says its messages come from."""
    found = {}
    for body in PAGE.split("\n## ")[1:]:
        named = re.search(r"^From (.+)\.$", body, re.M)
        found[f"## {body.partition(chr(10))[0]}"] = re.findall("`([^`]+)`", named[1]) if named else []
    return found


def test_every_message_has_a_section() -> None:
    places = {place: title for title, some in sections().items() for place in some}
    assert all((ROOT / place).exists() for place in places)
    assert sum(map(len, sections().values())) == len(places)  # each in one
    seen = 0
    for path, name, _ in raised():
        fitting = {places[place] for place in places if path == place or path.startswith(f"{place}/")}
        assert len(fitting) == 1 if name in ROOMS else OWN[name] in sections(), (path, name)
        seen += 1
    assert seen >= 300
    assert set(OWN) | set(ROOMS) == ERRORS - {"SweepError"}


def test_messages_that_are_explained_are_said() -> None:
    """Each piece between the dots stands in one text of the package, in their order."""
    said = " \0 ".join(_texts())
    explained = re.findall(r"^- `([^`]+)`:", PAGE, re.M)
    for message in explained:
        for piece in filter(None, map(str.strip, message.split("..."))):
            assert piece in said, (message, piece)
    assert len(explained) >= 40


def _texts() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
