"""Folders that hostile programs leave are removed, whatever they are like, and nothing else is."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.sandbox.removal import remove

NAMES = st.binary(min_size=1, max_size=255).filter(
    lambda name: not set(name) & set(b"/\0") and name not in (b".", b"..")
)
NAMES |= st.sampled_from([b".lifted-1", b".lifted-2", b"\xff", b"-", b"\n"])
TREES = st.recursive(
    st.sampled_from(["file", "link", "fifo"]), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


def grow(tree, place):
    """Make the tree in the open folder."""
    for name, what in tree.items() if isinstance(tree, dict) else []:
        if isinstance(what, dict):
            os.mkdir(name, dir_fd=place)
            inner = os.open(name, os.O_DIRECTORY, dir_fd=place)
            grow(what, inner)
            os.fchmod(inner, len(what) * 0o100)
            os.close(inner)
        elif what == "link":
            os.symlink("/tmp", name, dir_fd=place)
        elif what == "fifo":
            os.mkfifo(name, 0, dir_fd=place)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0, dir_fd=place))


def test_the_mode_of_what_a_link_in_the_folders_place_names_is_left(tmp_path):
    """Where only seccomp is, a program can move its folder away."""
    kept, link = tmp_path / "kept", tmp_path / "link"
    kept.mkdir(mode=0o751)
    link.symlink_to(kept)
    remove(str(link))
    assert kept.stat().st_mode & 0o777 == 0o751


@given(TREES)
def test_any_tree_is_removed(tree):
    folder = tempfile.mkdtemp()
    place = os.open(folder, os.O_DIRECTORY)
    grow(tree, place)
    os.close(place)
    remove(folder)
    assert not os.path.exists(folder)


@pytest.mark.parametrize("depth", [0, 1, 1050])
def test_a_deep_tree_is_removed(tmp_path, depth):
    """No path is long enough to name its end, no recursion deep enough to reach it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    top = tmp_path / "top"
    top.mkdir()
    place = os.open(top, os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d" * 200, dir_fd=place)
        os.symlink(outside, "link", dir_fd=place)
        below = os.open("d" * 200, os.O_DIRECTORY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    remove(str(top))
    assert not top.exists()
    assert (outside / "kept").read_text() == "x"


def test_a_link_in_the_folders_place_is_not_followed(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "kept").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    remove(str(tmp_path / "link"))
    assert Path(tmp_path / "target" / "kept").exists()
