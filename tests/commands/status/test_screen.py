"""The view of a sweep at work fits its terminal whatever happens, and says first what somebody must know."""

import io
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from made_status import Row, job, stage, whole
from rich.cells import cell_len
from rich.console import Console

from sft_sweeps.commands.status import screen
from sft_sweeps.commands.status.parts import notes
from sft_sweeps.config import site

LABELS = st.sampled_from(["mini--math", "llama13b--code+math@1_64--general k=1/256 seed=3", "x" * 70, "[/red] 表"])
WHY = st.sampled_from(["", "on n7", "loss is [nan] " * 9, "after its parent (Dependency)"])
STATES = st.sampled_from(["done", "running", "failed", "pending", "missing", "cancelled", "weights gone", "unknown"])
CURVES = st.lists(st.floats(0, 20), max_size=30).map(lambda losses: [[n + 1, loss] for n, loss in enumerate(losses)])


@st.composite
def sweeps(draw: st.DrawFn) -> Row:
    def failure(state: str) -> Row:
        if state != "failed":
            return {}
        return {"log_tail": ["Traceback", "y" * 300], "hint": "sft-sweeps logs 0a; then launch the sweep again"}

    stages, jobs = [], []
    for n in range(draw(st.integers(1, 40))):
        state = draw(STATES)
        more = {"curve": draw(CURVES), "loss": 1.5, "tokens_per_second": 1e5, "seconds_left": draw(st.floats(0, 1e7))}
        more = more if state == "running" else {}
        stages.append(stage(n, state, label=draw(LABELS), why=draw(WHY), **more, **failure(state)))
    for n in range(draw(st.integers(0, 5))):
        state = draw(STATES)
        progress = {"what": "answers", "done": 3, "of": 8} if state == "running" and n % 2 else None
        jobs.append(job("generate", n, state, label=draw(LABELS), why=draw(WHY), progress=progress, **failure(state)))
    return whole(stages, jobs, seconds_left=draw(st.none() | st.floats(0, 1e8)))


def drawn(sweep: Row, width: int, height: int | None, footer: str = "") -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(screen.view(sweep, width, height, footer))
    return out.getvalue().splitlines()


@given(sweeps(), st.integers(40, 200), st.integers(16, 60))
def test_it_fits(sweep: Row, width: int, height: int) -> None:
    """No line is wider, and there are no more than the terminal has; the last one is the footer."""
    lines = drawn(sweep, width, height, "how to leave")
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height
    assert lines[-1].strip() == "how to leave"
    assert lines[0].rstrip().endswith("05:12:31")


@given(sweeps(), st.integers(60, 200), st.integers(24, 60))
def test_what_failed_and_what_runs_is_never_left_out_without_a_word(sweep: Row, width: int, height: int) -> None:
    text = "\n".join(drawn(sweep, width, height))
    states = [row["state"] for row in (*sweep["stages"], *sweep["jobs"])]
    shown = text.count("): failed")
    more = states.count("failed") - screen.FAILURES
    assert shown == min(states.count("failed"), screen.FAILURES)
    assert (f"... and {more:,} more failed" in text) == (more > 0)
    assert ("running " in text) == ("running" in states)


def test_a_sweep_at_work() -> None:
    """In a small terminal: how far, how fast, how long, and of a failure the log's end and what to type."""
    curve = [[10 * n, 3.0 - n / 10] for n in range(1, 20)]
    fields = {"label": "llama7b--math", "step": 190, "steps": 400, "loss": 1.1, "curve": curve, "why": "on n7"}
    stages = [
        stage(1, "done", gpu_hours=40.0, gpu_hours_estimated=38.5),
        stage(2, "running", **fields, tokens_per_second=21345.3, seconds_left=5160.0, gpu_hours_estimated=38.5),
        stage(3, "failed", label="llama7b--code", why="loss is nan", log_tail=["RunError: loss is nan"], hint="a; b"),
        stage(4, "pending", why="others come first (Priority)"),
        stage(5, "pending", why="others come first (Priority)"),
    ]
    lines = drawn(whole(stages, trained=0.3, seconds_left=9000.0), 80, 24)
    text = "\n".join(lines)
    assert "30% 1 of 5, about 2.5 h at this pace" in text
    assert "52% 40.0 of 77.0 planned" in text
    assert "waiting: 2 others come first (Priority)" in text
    (running,) = (line for line in lines if line.startswith("llama7b--math"))
    cells = ["llama7b--math", "48%", "190 of 400", "█▇▇▆▆▅▄▄▃▂▂▁", "1.100", "21,345", "86 min"]
    assert re.split(r"  +", running.strip()) == cells
    at = lines.index("llama7b--code (000000000003): failed loss is nan")
    assert [line.strip() for line in lines[at + 1 : at + 4]] == ["│ RunError: loss is nan", "> a", "> b"]


def test_what_is_to_be_typed_means_the_store_that_was_looked_at(tmp_path: Path) -> None:
    sweep = whole([stage(1, "done")], scores_to_judge=2) | {"store": str(tmp_path), "mirror": "wandb: no network"}
    judge, sync = notes(sweep)
    assert judge.endswith(f": sft-sweeps judge {sweep['sweep']} --output-dir {tmp_path}")
    assert sync.endswith(f": sft-sweeps sync {sweep['sweep']} --output-dir {tmp_path}")
    assert notes(sweep | {"store": site.output_dir()})[0].endswith(f": sft-sweeps judge {sweep['sweep']}")
