"""Without a terminal, a line says now and then how far each running job is."""

import io
from pathlib import Path

import pytest
import values
from rich.console import Console

from sft_sweeps.execution import Executions
from sft_sweeps.files.json_files import write_json
from sft_sweeps.jobs.job import PROGRESS, Encoding, Job, claim_folder
from sft_sweeps.launch.local import progress
from sft_sweeps.launch.local.progress import Progress
from sft_sweeps.terminal import duration


def test_running_jobs_are_told_of_in_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = values.stage()
    encoding = Encoding(stage.mixture.components[0].source, stage.model, "vicuna_bare", 64, "key")
    encode = Job("encode", str(tmp_path), stage.model, encodings=(encoding,))
    train = Job("train", str(tmp_path), stage, Executions().train)
    out = io.StringIO()
    shown = Progress([encode, train], Console(file=out, width=200))
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    write_json(claim_folder(encode, tmp_path / "encode") / PROGRESS, {"what": "chats", "done": 2560, "of": 17671})
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "metrics.jsonl").write_text(
        "".join(
            f'{{"step": {n}, "steps": {train.steps}, "seconds": {took}, "loss": 2.5, "tokens_per_second": 9}}\n'
            for n, took in enumerate((40, 0.5, 0.5), start=1)
        )
    )
    for job in (encode, train):
        shown.started(job)
    for now[0] in range(40):
        for job in (encode, train):
            shown.update(job, tmp_path / job.kind)
    lines, left = out.getvalue().splitlines(), duration(0.5 * (train.steps - 3))
    assert lines.count("encode chats: 2,560 of 17,671") == 2
    assert lines.count(f"{stage.label}: step 3 of {train.steps:,}, loss 2.500, about {left} left") == 2
    assert len(lines) == 4


@pytest.mark.parametrize(("width", "chart"), [(80, ""), (120, "█▁ ")])
def test_a_wide_terminal_has_a_chart_of_the_loss(width: int, chart: str, tmp_path: Path) -> None:
    train = Job("train", str(tmp_path), values.stage(), Executions().train)
    shown = Progress([train], Console(file=io.StringIO(), width=width, force_terminal=True))
    shown.started(train)
    for step, loss in ((1, 2.5), (2, 1.25), (2, 1.25)):
        line = f'{{"step": {step}, "steps": 9, "seconds": 1, "loss": {loss}, "tokens_per_second": 9}}\n'
        (tmp_path / "metrics.jsonl").write_text(line)
        shown.update(train, tmp_path)
    assert shown.rich.tasks[-1].fields["note"] == f"{chart}loss 1.250  9 tokens/s"
