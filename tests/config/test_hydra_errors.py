"""What Hydra refuses is told in one line, with the key that was meant or how to quote the value."""

import difflib
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from common import ROOT, sweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from hydra_plugins.sft_sweeps_sweeper.sweeper import Line
from sft_sweeps.config import command_line
from sft_sweeps.config.choices import groups
from sft_sweeps.config.hydra_errors import explain
from sft_sweeps.config.keys import nearest_key, valid_keys
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError

CONF = [ROOT / "conf"]
KEYS = [key for key in valid_keys(CONF) if len(key.rpartition(".")[2]) >= 6]
STUDY_CHOICES = groups(CONF)


def refusal(*overrides: str) -> str:
    """What is told of a line that Hydra does not compose."""
    try:
        OverridesParser.create().parse_overrides(list(overrides))
        _, made = sweeper().point(Line(list(overrides)))
    except Exception as error:
        made = error
    assert not isinstance(made, Config), overrides
    return explain(made, overrides, CONF)


def misspelt(key: str, how: int, at: int) -> str:
    """With two letters changed over, one left out or one doubled, in its last part."""
    begin = key.rfind(".") + 1
    at = begin + at % (len(key) - begin - 1)
    return {
        0: key[:at] + key[at + 1] + key[at] + key[at + 2 :],
        1: key[:at] + key[at + 1 :],
        2: key[:at] + key[at] + key[at:],
    }[how]


@given(st.sampled_from(KEYS), st.integers(0, 2), st.integers(0, 40))
def test_a_slip_of_a_key_leads_to_it(key: str, how: int, at: int) -> None:
    """Or to one that is spelt as like, of which the schema has some."""
    typed = misspelt(key, how, at)
    found = nearest_key(typed, KEYS)
    assert found == key or alike(typed, found) >= alike(typed, key) - 0.05


def alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("data.fractoin=1/4", "unknown key data.fractoin; did you mean data.fraction?"),
        ("train.lr=1", "unknown key train.lr; did you mean train.learning_rate?"),
        ("train.wd=1", "unknown key train.wd; did you mean train.weight_decay?"),
        ("learning_rate=1", "unknown key learning_rate; did you mean train.learning_rate?"),
        ("data.learning_rate=1", "unknown key data.learning_rate; did you mean train.learning_rate?"),
        ("fraction=1/4", "unknown key fraction; did you mean data.fraction?"),
        ("modl=mini", "unknown key modl; did you mean model?"),
        ("data.sources.mth.path=x", "did you mean data.sources.math.path?"),
        ("data.sources.math.pth=x", "did you mean data.sources.math.path?"),
        ("evaluate.gsm8k.pth=x", "did you mean evaluate.gsm8k.path?"),
        ("cluster.kinds.train.memroy=1", "did you mean cluster.kinds.train.memory?"),
        ("modle@x=mini", "unknown key modle@x; did you mean model?"),
        ("~modell", "unknown key ~modell; did you mean model?"),
        ("study=quickstrat", "did you mean study=quickstart?"),
        ("model=min", "did you mean model=mini?"),
        ("train.learning_rate=abc", "train.learning_rate=abc must be a number"),
        ("train.epochs=1.5", "train.epochs=1.5 must be a whole number"),
        ("deepspeed.offload=maybe", "deepspeed.offload=maybe must be true or false"),
        ("zzzz=1", "unknown key zzzz; valid here: action, name, "),
        ("~strategy", "strategy.name has no value"),
        ("=3", "=3 has no key; type KEY=VALUE"),
        ("study", "study is no KEY=VALUE; type study=VALUE"),
    ],
)
def test_what_is_told(line: str, says: str) -> None:
    told = refusal(line)
    assert says in told
    assert "\n" not in told


@given(st.text("ab/. (){}[]#:;~$!", min_size=1, max_size=8).filter(lambda text: text.strip() == text))
def test_a_value_quoted_as_is_told_can_be_read(value: str) -> None:
    """What stands in the message, typed into a shell, is the value that was meant."""
    told = explain(_unreadable(f"output_dir={value}"), [f"output_dir={value}"], CONF) if _is_unreadable(value) else ""
    if told:
        (typed,) = shlex.split(told.rpartition(": ")[2] if "'output_dir" in told else "x")
        override = sweeper().composer.parse(typed)
        assert override.value() == value


def _unreadable(override: str) -> Exception:
    try:
        OverridesParser.create().parse_overrides([override])
    except Exception as error:
        return error
    raise AssertionError(override)


def _is_unreadable(value: str) -> bool:
    try:
        sweeper().composer.parse(f"output_dir={value}")
    except Exception:
        return True
    return False


def test_what_the_shell_took_apart_is_put_together() -> None:
    told = explain(_unreadable("b"), ["model=mini", "output_dir=a", "b", "c", "data=mini"], CONF)
    assert told == "b is no KEY=VALUE; where it belongs to output_dir=a, quote the value: 'output_dir=\"a b c\"'"


def run(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "launch.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("line", ["study=quickstrat", "train.lr=1 -m", "--cnfig-dir x"])
def test_exit_status_2_and_one_line(line: str, tmp_path: Path) -> None:
    done = run(*line.split(), folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error ")


def test_a_file_of_a_configuration_that_is_no_mapping_is_named(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "odd.yaml").write_text("0.5\n")
    told = explain(OSError("Invalid loaded object type: float"), ["study=odd"], [tmp_path])
    assert told == (
        f"{tmp_path}/study/odd.yaml holds 0.5; a file of a configuration holds keys with their values, KEY: VALUE"
    )


def test_a_study_without_its_first_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "conf" / "study" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("study:\n  name: mine\n  grid: [model=mini train=mini data=mini]\n")
    done = run("study=mine", "action=plan", "plan.measure=false", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error {path} must begin with the line # @package _global_: without it its keys are taken for those of study\n"
    )
    path.write_text(f"# @package _global_\n{path.read_text()}")
    assert run("study=mine", "action=plan", "plan.measure=false", folder=tmp_path).returncode == 0


@pytest.mark.parametrize("typed", ["model=[1,2]", "+data@x=shuffle(1)", "model=[[mini]]"])
def test_a_list_of_choices_that_are_no_names(typed: str) -> None:
    told = command_line._no_name([typed, "model=[mini,hf]", "train.seed=[1]", "a=${"], CONF)
    assert told.startswith(f"{typed}: ")
    assert not command_line._no_name(["model=mini", "model=[mini]", "train.lora.targets=[1]"], CONF)
    with pytest.raises(RequestError, match="names no file of model"):
        sweeper().composer.groups(["model=[1]"])


def test_two_choices_of_one_group() -> None:
    assert command_line._typed_twice(["study=quickstart", "model=mini", "study=table1"], CONF) == (
        "study is typed twice (quickstart, table1); type one of them, or sweep both: study=quickstart,table1"
    )
    assert (
        command_line._typed_twice(["study=quickstart", "study=quickstart", "train.seed=1", "train.seed=2"], CONF) == ""
    )
