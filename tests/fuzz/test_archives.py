"""Whatever an export holds, taking it in is all of it, right, or nothing and one message."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import made_sweeps
import pytest
import values
import zstandard
from fuzzing import hunt, told, wrong
from mutations import BYTES, CHANGES, odd_value, spoilt

from sft_sweeps.commands.main import main
from sft_sweeps.files import archive
from sft_sweeps.plan.build import build
from sft_sweeps.store.exports import export_of
from sft_sweeps.store.store import Store

pytestmark = pytest.mark.fuzz

PLANNED = build([("data=mini", values.request(values.mixed(), "sequential", every_stage=True))])
Contents = dict[str, bytes]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any], Contents]:
    """An export as it is written, what its list says, and what it holds."""
    root = tmp_path_factory.mktemp("exported")
    sweep = made_sweeps.made(root / "store", PLANNED, lambda _: [True, False])
    one = export_of(sweep, Store(root / "store"))
    archive.write(root / "it.tar.zst", one.about, one.contents)
    contents = {
        member.path: content if isinstance(content, bytes) else content.read_bytes()
        for member, content in one.contents.items()
    }
    return (root / "it.tar.zst").read_bytes(), dict(one.about), contents


def _write(path: Path, export: tuple[bytes, dict[str, Any], Contents], chance: Random) -> str:
    """A spoilt export: its bytes, those that are packed, what its list says, or a file in it; what was done."""
    whole, about, contents = export
    kind = chance.randrange(4)
    if kind == 0:
        path.write_bytes(spoilt(whole, chance, BYTES))
        return "bytes"
    if kind == 1:
        unpacked = zstandard.ZstdDecompressor().stream_reader(whole).read()
        path.write_bytes(zstandard.compress(spoilt(unpacked, chance, BYTES)))
        return "bytes that are packed"
    about, contents = copy.deepcopy(about), dict(contents)
    done = "what the list says"
    if kind == 2:
        about = odd_value(about, chance)
    else:
        name = chance.choice(list(contents))
        contents[name] = spoilt(contents[name], chance, CHANGES)
        done = f"{name} {contents[name][:300]!r}"
        if chance.random() < 0.2:
            other = chance.choice((f"../{name}", "/etc/x", f"{name}/x", name.upper(), "sweeps/x/plan.json", "a\nb"))
            contents[other] = contents.pop(name)
    path.unlink(missing_ok=True)
    listed = about if isinstance(about, dict) else {"about": about}
    archive.write(path, listed, {archive.member_of(name, content): content for name, content in contents.items()})
    return f"{done}; {json.dumps(listed)[:300]}"


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_spoilt_exports(export: tuple[bytes, dict[str, Any], Contents], tmp_path: Path) -> None:
    """Refused, it leaves the store as it was; taken, the store can be reported."""
    path, root = tmp_path / "it.tar.zst", tmp_path / "store"

    def case(chance: Random) -> Iterator[str]:
        try:
            done = _write(path, export, chance)
        except (ValueError, UnicodeError):  # what nothing can write
            return
        given = told(lambda: main(["import", str(path), "--output-dir", str(root)]))
        yield from wrong(given, done)
        here = _files(root) if root.is_dir() else {}
        if given.status != 0 and here:
            yield f"refused, and {sorted(here)[:3]} is there: {done}"
        if given.status == 0 and chance.random() < 0.1:
            reported = told(lambda: main(["report", "--output-dir", str(root), "--out", str(tmp_path / "out")]))
            yield from wrong(reported, f"reported: {done}")
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(tmp_path / "out", ignore_errors=True)

    hunt(case, 0.5)
