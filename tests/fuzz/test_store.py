"""Whatever became of a store's files, what reads it gives an answer or one message: no traceback, in bounded time.

FUZZ=5000 make fuzz tries more of them; each failure prints the file and what was done to it.
"""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzzing import COUNT, SEED, answer, told

from bench.growth import fill, grid
from sft_sweeps.commands.main import main
from sft_sweeps.plan import serialize
from sft_sweeps.store.store import Store

pytestmark = pytest.mark.fuzz

ODD = (None, True, -3, 0.5, float("nan"), float("inf"), "", "x", "\x1b[2J", [], {}, [1], {"a": 1}, 10**30, "9" * 5000)


def _odd_value(content: bytes, chance: random.Random) -> bytes:
    """A value anywhere in a JSON file, replaced."""
    value = json.loads(content)
    node, at = value, None
    while isinstance(node, dict | list) and node and chance.random() < 0.8:
        at = (node, chance.choice(list(node) if isinstance(node, dict) else range(len(node))))
        node = node[at[1]]
    if at is None:
        return json.dumps(chance.choice(ODD)).encode()
    if isinstance(at[0], dict) and chance.random() < 0.3:
        del at[0][at[1]]
    else:
        at[0][at[1]] = chance.choice(ODD)
    return json.dumps(value).encode()


def _flip(content: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]


CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _odd_value,
    _odd_value,
    _odd_value,
    _flip,
    lambda content, chance: content[: chance.randrange(len(content))],
    lambda _content, _chance: b"",
    lambda _content, _chance: b"[" * 100_000,
    lambda content, _chance: content + content,
    lambda _content, chance: chance.randbytes(300),
)


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
    change = chance.choice(CHANGES)
    content = path.read_bytes()
    with contextlib.suppress(ValueError):
        content = change(content, chance)
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
    wrong = []
    for number in range(COUNT // 2):
        chance = random.Random(f"{SEED} {number}")
        store = tmp_path / "store"
        shutil.copytree(good, store, symlinks=True)
        done = "; ".join(spoil(store, chance) for _ in range(chance.randint(1, 2)))
        wrong += [f"{number}: {done:.400}: {reason:.400}" for reason in _problems(store, launch)]
        shutil.rmtree(store)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong)


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
            found.append(f"{name}: {type(raised).__name__}: {raised}")
            continue
        if "Traceback" in came.error or "\x1b[2J" in came.out + came.error:
            found.append(f"{name}: {came.error[-300:]}")
        if came.status not in (0, 1, 2):
            found.append(f"{name}: status {came.status}")
    return found


def test_the_store_itself_is_right(finished: tuple[Path, list[str]]) -> None:
    assert not _problems(*finished)
    assert os.listdir(finished[0])
