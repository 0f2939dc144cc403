"""The command as users type it: bad input is one message and an exit status, and leaves nothing behind."""

import shutil
from pathlib import Path

import pytest
from common import ROOT, Launch

# Arguments, exit status, what the output must say. Each costs a second: what text alone shows is in test_config.
REFUSED = [
    ("data.fraction=0", 2, ["data.fraction=0 is not a fraction in (0, 1]", "data.fraction=1/4"]),
    (
        "data.fraction=1/0,5/4,abc,1",
        2,
        [f"data.fraction={text} is not a fraction in (0, 1]" for text in ("1/0", "5/4", "abc")]
        + ["in 1 of 4 points, e.g. data.fraction=abc"],
    ),
    ("strategy=dmt strategy.k=2", 2, ["strategy.k=2 is not a fraction in (0, 1]", "strategy.k=1/4"]),
    ("+zzz=1", 2, ["unknown key zzz", "valid here: action"]),
    (
        "+train.learning_rat=1 +data.sources.math.row=1",
        2,
        ["did you mean train.learning_rate?", "unknown key data.sources.math.row", "data.sources.math.rows?"],
    ),
    ("modle=x", 2, ["unknown key modle", "did you mean model?"]),
    ("model=x", 2, ["model=x is unknown", "llama7b", "mini"]),
    ("train.epochs=1.5", 2, ["train.epochs=1.5 must be a whole number"]),
    ("model=1,2", 2, ["model=1"]),
    ("study=table1 model=mini", 2, ["study=table1 sweeps model over llama7b, llama13b, llama33b", "model=mini"]),
    (
        "train.learning_rate=nan train.template='[/x]' model.name=../up",
        2,
        ["train.learning_rate=2e-5", "train.template=[/x] is unknown", "model.name=../up cannot"],
    ),
    ("study=quickstart study=table1", 2, ["study is typed twice", "study=quickstart,table1"]),
    (
        "study=quickstart train.seed=-1 data.seed=-2 evaluate.seed=-3 train.max_length=10",
        2,
        [f"{key} must be" for key in ("train.seed=-1", "data.seed=-2", "evaluate.seed=-3", "train.max_length=10")],
    ),
    ("train.seed=interval(0,1)", 2, ["train.seed=interval(0,1)", "list of values"]),
    ("output_dir=a,b", 2, ["output_dir cannot be swept"]),
    ("plan.output=absent/plan.json evaluate=none", 2, ["plan.output=absent/plan.json cannot be written"]),
]


@pytest.mark.parametrize(("line", "status", "says"), REFUSED, ids=[line for line, _, _ in REFUSED])
def test_bad_input(line: str, status: int, says: list[str], launch: Launch, tmp_path: Path) -> None:
    done = launch(*line.split(), "action=plan")
    output = done.stdout + done.stderr
    assert done.returncode == status, output
    assert all(part in output for part in says), output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_names_a_missing_option(launch: Launch, tmp_path: Path) -> None:
    """Its points are composed by our Sweeper: one message for all of them, with what there is."""
    conf = tmp_path / "tree" / "conf"
    shutil.copytree(ROOT / "conf", conf, ignore=shutil.ignore_patterns("local"))
    shutil.copy(ROOT / "launch.py", tmp_path / "tree")
    lines = "    - model=llama8b,mini strategy=multi_task,base\n    - model=mini train=none\n"
    (conf / "study" / "broken.yaml").write_text(f"# @package _global_\nstudy:\n  name: broken\n  grid:\n{lines}")
    done = launch("study=broken", "action=plan", conf=conf)
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "model=llama8b is unknown" in output
    assert "in 2 of 5 points, e.g. study=broken model=llama8b" in output
    assert "train=none is unknown" in output
    assert all(name in output for name in ("llama7b", "llama13b", "paper"))
    assert "Traceback" not in output
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_every_line_of_help(launch: Launch) -> None:
    done = launch("--help")
    assert done.returncode == 0
    assert all(group in done.stdout for group in ("model:", "data:", "strategy:", "study:"))
    assert "study=quickstart" in done.stdout
