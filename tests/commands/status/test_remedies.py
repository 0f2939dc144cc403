"""What failed shows the end of its log, as it was seen, and what to type."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from values import request

from sft_sweeps.commands.status import remedies, rows
from sft_sweeps.files.json_files import write_json
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import freeze


def failed(root: Path, reason: str, log: str = "", step: int = 0) -> rows.Row:
    plan: Plan = build([("a", request())])
    store, stage = Store(root), plan.stages[0]
    sweep = freeze(plan, store, "mine", "", [])
    folder = store.folder(stage)
    write_json(folder / "failure.json", {"reason": reason, "job": f"train-{stage.id}"})
    if log:
        (folder / "logs").mkdir()
        (folder / "logs" / "train-0.log").write_text(log)
    if step:
        (folder / "resume" / f"step-{step}").mkdir(parents=True)
    return rows.status(plan, store, sweep.name)["stages"][0]


def test_the_end_of_the_log_and_what_to_type(tmp_path: Path) -> None:
    log = "begin\n" * 5000 + "loading 1%\rloading 99%\n\n   \nTraceback\nRunError: loss is nan\n"
    row = failed(tmp_path, "step 9: the loss is nan", log, step=8)
    assert row["log_tail"] == ["loading 99%", "Traceback", "RunError: loss is nan"]
    look, again = row["hint"].split("; then ")
    assert look.split()[:5] == ["sft-sweeps", "logs", row["id"], "--lines", "50"]
    assert look.endswith(f"--output-dir {tmp_path}")
    assert again.startswith("launch the sweep again: it continues from step 8 with a smaller train.learning_rate")


@pytest.mark.parametrize(
    ("reason", "help_"),
    [
        (
            "its time limit came before it had saved and left (TIMEOUT)",
            "launch the sweep again with a longer cluster.time",
        ),
        ("rank 0 was killed by SIGKILL on n7", "launch the sweep again with more memory (cluster.memory)"),
        ("No space left on device", "launch the sweep again after making room: sft-sweeps du"),
        ("out of GPU memory. Use deepspeed.recompute=true", "launch the sweep again"),
        ("something else", "launch the sweep again"),
    ],
)
def test_what_helps_as_a_rule_unless_the_reason_says_it(reason: str, help_: str, tmp_path: Path) -> None:
    """Without a log, nobody is sent to look for one."""
    hint = failed(tmp_path, reason)["hint"]
    assert hint.startswith(help_)
    assert "logs" not in hint
    assert ("with" in hint or "after" in hint) == (help_ != "launch the sweep again")


@given(st.binary(max_size=3000))
def test_any_log_has_an_end(content: bytes) -> None:
    """Whatever bytes it holds: no more lines than are shown, none empty."""

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        lines = remedies.tail(Path(file.name))
    assert len(lines) <= remedies.LINES
    assert all(line.strip() for line in lines)
