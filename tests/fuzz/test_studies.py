"""Whatever a study's or a source's YAML says, planning it is a plan or one message.

Files of conf/ are spoilt, word by word, line by line and value by value, and typed as a user types his own.
"""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from fuzzing import CONF, Answer, answer, hunt, wrong
from mutations import BYTES, odd_value, reworded, spoilt

pytestmark = pytest.mark.fuzz

# Small ones: each case plans all of its points.
STUDIES = ("quickstart", "previews_mini", "mixtures_mini", "adapters_mini", "smollm2_real")
SOURCES = tuple(path.stem for path in sorted((CONF / "source").glob("*.yaml")))
DATA = ("mini", "mixed", "graded_math", "math")
WORDS = (
    *("", "null", "true", "-1", "0", ".5", "1/4", "1e999", ".nan", "'", '"', "[", "]", "{", "}", ":", "-", "#", "&a"),
    *("*a", "<<", "!!python/object:os.system", "!x", "|", ">", "%", "@", "`", "\t", "\0", "é", "\u202e", "9" * 4300),
    *("${model.name}", "${oc.env:HOME}", "${", "???", "=", ",", "+", "~", "..", "/", "defaults", "override", "_self_"),
    *("_global_", "study", "grid", "question", "data", "mini", "strategy=dmt", "strategy.k=1/4", "name", "rows"),
)


def _spoil(text: str, chance: Random) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        return spoilt(text.encode(), chance, BYTES)
    if kind < 0.4:
        value: Any = odd_value(yaml.safe_load(text), chance)
        head = text[: text.index("\n") + 1] if text.startswith("# @package") else ""
        return (head + yaml.safe_dump(value, allow_unicode=True)).encode("utf-8", "surrogatepass")
    for _ in range(chance.randint(1, 3)):
        text = reworded(text, chance, WORDS)
    return text.encode()


def _plan(folder: Path, group: str, name: str, typed: list[str], chance: Random) -> tuple[Answer, str]:
    """What planning gives with a spoilt file of a group in a user's own configuration, and that file's text."""
    content = _spoil((CONF / group / f"{name}.yaml").read_text(), chance)
    path = folder / "conf" / group / "spoilt.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    given = answer(["--config-dir", str(folder / "conf"), *typed], folder / "store")
    return given, f"{name}: {content[:1500]!r}"


def test_spoilt_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def case(chance: Random) -> Iterator[str]:
        yield from wrong(*_plan(tmp_path, "study", chance.choice(STUDIES), ["study=spoilt"], chance))

    hunt(case, 0.2)


def test_spoilt_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And spoilt files of conf/data, which name sources."""
    monkeypatch.chdir(tmp_path)
    mini = ["model=mini", "train=mini", "evaluate=none"]

    def case(chance: Random) -> Iterator[str]:
        if chance.random() < 0.3:
            yield from wrong(*_plan(tmp_path, "data", chance.choice(DATA), [*mini, "data=spoilt"], chance))
        else:
            typed = [*mini, "data=mini_general", "+source@data.sources.extra=spoilt"]
            yield from wrong(*_plan(tmp_path, "source", chance.choice(SOURCES), typed, chance))

    hunt(case, 0.2)
