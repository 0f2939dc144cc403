"""Named things: this package's own, and those that other distributions announce."""

from pathlib import Path

import pytest

from sft_sweeps.errors import RequestError
from sft_sweeps.registry import Registry, attributes


@pytest.fixture
def announce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make a distribution with entry points of a group, as an installer would leave it."""

    def made(group: str, **entries: str) -> None:
        info = tmp_path / "theirs-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.2\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines]))
        (tmp_path / "theirs.py").write_text("ANSWER = 42\n")
        (tmp_path / "theirs_broken.py").write_text("raise ValueError('no such GPU')\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return made


def registry(**own: int) -> Registry[int]:
    return Registry("thing", "sft_sweeps.tests", lambda: own)


def test_this_packages_things_and_others(announce) -> None:
    announce("sft_sweeps.tests", theirs="theirs:ANSWER")
    things = registry(ours=1)
    assert things.names == ("ours", "theirs")
    assert (things.get("ours"), things.get("theirs")) == (1, 42)


def test_an_unknown_name_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(RequestError, match=r"thing ouers is unknown; valid: ours, mine; did you mean ours\?"):
        registry(ours=1, mine=2).get("ouers")


def test_a_name_that_is_taken(announce) -> None:
    announce("sft_sweeps.tests", ours="theirs:ANSWER")
    with pytest.raises(RequestError, match=r"thing ours of theirs 1.2 \(theirs:ANSWER\) has the name of another thing"):
        registry(ours=1).get("ours")


def test_one_that_cannot_be_loaded(announce) -> None:
    announce("sft_sweeps.tests", bad="theirs_broken:ANSWER")
    with pytest.raises(RequestError, match=r"bad of theirs 1.2 .* cannot be loaded \(ValueError: no such GPU\)"):
        registry(ours=1).get("ours")


def test_a_package_is_walked() -> None:
    found = attributes("sft_sweeps.store", "RECORD")
    assert "record.json" in found
