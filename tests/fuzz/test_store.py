"""Whatever became of a store's files, what reads it gives an answer or one message: no traceback, in bounded time.

FUZZ=5000 make fuzz tries more of them; each failure prints the file and what was done to it.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import answer, hunt, told, where, wrong
from mutations import spoilt

from bench.growth import fill, grid
from sft_sweeps.commands.main import main
from sft_sweeps.plan import serialize
from sft_sweeps.store.store import Store

pytestmark = pytest.mark.fuzz


def spoil(store: Path, chance: random.Random) -> str:
    """Do something to a file of a store; what was done."""
    path = chance.choice(sorted(path for path in store.rglob("*") if path.is_file() and "model" not in path.parts))
    name, kind = str(path.relative_to(store)), chance.random()
    if kind < 0.05:
        path.unlink()
        return f"{name} deleted"
    if kind < 0.1:
        path.unlink()
        path.mkdir()
        return f"{name} made a folder"
    if kind < 0.13:
        path.unlink()
        path.symlink_to(path)
        return f"{name} made a link to itself"
    content = spoilt(path.read_bytes(), chance)
    path.write_bytes(content)
    return f"{name} became {content[:150]!r}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished sweep of nine stages, and the command that launches it."""
    folder = tmp_path_factory.mktemp("finished")
    launch = grid(9)[2:]
    planned = answer([*launch, f"plan.output={folder / 'plan.json'}"], folder / "store")
    assert planned.status == 0, planned.error
    plan = serialize.from_json(json.loads((folder / "plan.json").read_text()))
    fill(plan, Store(folder / "store"))
    launched = answer([*launch, "action=launch"], folder / "store")
    assert launched.status == 0, launched.error
    return folder / "store", launch


def test_spoilt_stores(finished: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good, launch = finished

    def case(chance: random.Random) -> Iterator[str]:
        store = tmp_path / "store"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(good, store, symlinks=True)
        done = "; ".join(spoil(store, chance) for _ in range(chance.randint(1, 2)))
        yield from (f"{reason:.400}: {done:.400}" for reason in _problems(store, launch))

    hunt(case, 0.1)  # six commands each: two seconds


def _problems(store: Path, launch: list[str]) -> list[str]:
    """What is wrong with the answers of every command that reads a store."""
    given = ["--output-dir", str(store)]
    commands = {
        "status": lambda: told(lambda: main(["status", *given])),
        "status --json": lambda: told(lambda: main(["status", *given, "--json"])),
        "report": lambda: told(lambda: main(["report", *given, "--out", str(store / "out")])),
        "cancel": lambda: told(lambda: main(["cancel", *given, "--yes"])),
        "doctor": lambda: told(lambda: main(["doctor", "store", *given, "--deep"])),
        "plan": lambda: answer(launch, store),
    }
    found = []
    for name, command in commands.items():
        try:
            came = command()
        except BaseException as raised:
            found.append(f"{name}, {where(raised)}")
            continue
        found += [f"{name}, {finding}" for finding in wrong(came, "")]
        if "\x1b[2J" in came.out + came.error:
            found.append(f"{name}, an order to the terminal: {came.error[-300:]}")
    return found


def test_the_store_itself_is_right(finished: tuple[Path, list[str]]) -> None:
    assert not _problems(*finished)
    assert os.listdir(finished[0])
