"""Whatever is typed behind `launch.py`, the answer is a plan or one message: no traceback, and in bounded time.

`make fuzz` tries some hundred; FUZZ=5000 make fuzz more of them. Each failure prints the line to type.
"""

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzzing import CONF, COUNT, answer, hunt, where, wrong
from omegaconf import OmegaConf

from sft_sweeps.config.schema import Config

pytestmark = pytest.mark.fuzz

ODD_VALUES = (
    "", "null", "true", ".5", "-1", "0", "1e999", "nan", "inf", "9" * 4300, "1/0", "0/0", "1/4", "-1/4", "1,2",
    "a b", "''", '"x"', "[]", "[1,2]", "[[[]]]", "{}", "{a:1}", "${oc.env:HOME}", "${model.name}", "${nothing}",
    "${", "}", "???", "range(0,3)", "range(0,1000000)", "range(0,1,0)", "range(9)", "choice()", "glob(*)", "glob([)",
    "interval(0,1)", "sort(3,1)", "shuffle(1)", "int(x)", "float(1)", "str([1])", "json_str({})", "../x", "/",
    "/dev/null", "~", "\\", "\x00", "é", "\u202e", "=", "==", "@", "@x", "+", "a=b", "a@b", "x" * 5000, "mini",
    "dmt", "quickstart", "1_000", "0x10", "0o7", "1e3", "1e-400", "yes", "-0",
)  # fmt: skip
PREFIXES = ("", "", "", "", "+", "++", "~")
PACKAGES = ("", "", "", "@x", "@_global_", "@model", "@a:b", "@", "@_group_")


def _keys() -> list[str]:
    def walk(node: object, prefix: str) -> Iterator[str]:
        if OmegaConf.is_dict(node):
            for key in node:  # type: ignore[attr-defined]
                yield f"{prefix}{key}"
                with contextlib.suppress(Exception):
                    yield from walk(node[key], f"{prefix}{key}.")  # type: ignore[index]

    return list(walk(OmegaConf.structured(Config), ""))


GROUPS = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir())
KEYS = [
    *_keys(),
    *GROUPS,
    "hydra",
    "hydra.mode",
    "hydra.run.dir",
    "hydra/launcher",
    "nothing",
    "model.nothing",
    "data.sources.math.path",
    "x y",
    "",
    ".",
    "a..b",
]
CHOICES = [f"{path.parent.relative_to(CONF)}={path.stem}" for path in CONF.rglob("*.yaml")]


def line(randomness: random.Random) -> list[str]:
    """One to three overrides, of which some are right."""
    overrides = []
    for _ in range(randomness.randint(1, 3)):
        if randomness.random() < 0.3:
            overrides.append(randomness.choice(CHOICES))
            continue
        key, value = randomness.choice(KEYS), randomness.choice(ODD_VALUES)
        separator = "" if randomness.random() < 0.03 else "="
        overrides.append(f"{randomness.choice(PREFIXES)}{key}{randomness.choice(PACKAGES)}{separator}{value}")
    return overrides


def problems(arguments: list[str], folder: Path) -> Iterator[str]:
    """What is wrong with the answer to a line."""
    try:
        yield from wrong(answer(arguments, folder), f"{arguments!r:.300}")
    except BaseException as raised:
        yield f"{where(raised)}: {arguments!r:.300}"


KNOWN = (
    ["train=.5"], ["~model@x=1"], ["train.seed=" + "9" * 4300],
    ["train.seed=range(0,1000000)", "data.fraction=range(0,1000000)"], ["train.seed=range(0,1000000)"],
    ["data.fraction=1/0"], ["data.fraction=nan"], ["hydra=x"], ["hydra.mode=RUN"], ["a@b@c=1"], ["\x00=1"],
    ["+data@=shuffle(1)"], ["model=[1,2]"], ["study=figure5", "name=.5"], ["name=[a]"], ["output_dir=5"],
    ["cluster.kinds.train=${oc.env:HOME}"], ["train.lora.dropout=" + "9" * 400],
)  # fmt: skip


@pytest.mark.parametrize("arguments", KNOWN, ids=lambda arguments: " ".join(arguments)[:40])
def test_lines_that_once_gave_a_traceback_or_hung(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hunt(lambda _: problems(arguments, tmp_path), 1 / COUNT)


def test_lines_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hunt(lambda chance: problems(line(chance), tmp_path), 0.6)  # tests/fuzz/test_studies.py plans the others
