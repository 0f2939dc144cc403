"""`python -m bench.gpu_levers`: reduced, on a CPU, by the code that a GPU runs; and what its table says of figures."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from common import ROOT

from bench import levers_report
from bench.gpu_levers import Item, Worker, items
from bench.levers import GPU, LEVERS

NEED_GPU = {"flash_attention_3", "cudnn_attention"}


def bench(*arguments: str) -> tuple[list[dict[str, Any]], str]:
    """(its lines of JSON, its table)."""
    command = [sys.executable, "-m", "bench.gpu_levers", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")], "\n".join(
        line for line in lines if not line.startswith("{")
    )


@pytest.mark.slow
@pytest.mark.long  # a bench, reduced: that it ends with what it has is the next test, what it runs are train/'s
def test_every_lever_computes_the_step_and_repeats_to_the_bit() -> None:
    """On a tiny shape with recompute; what needs a GPU is named, and has no figure."""
    (environment, *lines), table = bench("--shapes", "tiny_recomputed", "--steps", "2", "--seconds", "500")
    assert {name: environment["absent"][name] for name in NEED_GPU} == dict.fromkeys(NEED_GPU, GPU)
    ways = {one["name"]: one for one in lines if one["kind"] == "way"}
    assert set(ways) == {"today", "together", *LEVERS} - set(environment["absent"])
    again = {one["name"]: one for one in lines if one["kind"] == "again"}
    for name, one in ways.items():
        assert "failed" not in one, one
        assert max(abs(a - b) for a, b in zip(one["losses"], ways["today"]["losses"], strict=True)) < 1e-5
        assert levers_report.repeats(one, again[name]) == "yes"
        assert f"{name} " in table
    shares = next(one["shares"] for one in lines if one["kind"] == "fullest")
    tokens = [one["tokens"] for one in shares]
    assert [one["gpus"] for one in shares] == [1, 2, 4, 8, 16]
    assert tokens == sorted(tokens, reverse=True)
    assert all(f"{name} " in table and GPU in table for name in NEED_GPU)
    assert "nothing is simulated" in table


@pytest.mark.slow
def test_it_ends_in_time_with_what_it_has() -> None:
    started = time.monotonic()
    (_, *lines), table = bench("--shapes", "tiny", "--levers", "plain_engine", "--steps", "2", "--seconds", "14")
    assert time.monotonic() - started < 60  # imports besides
    assert any("not_run" in one for one in lines)
    assert "no time left" in table


def test_a_worker_that_dies_is_a_failure_of_one_item_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next item has a new process."""
    answers = "import sys; sys.stdin.readline(); print('{\"figures\": {}}')"
    programs = iter(["import sys; sys.stdin.readline(); sys.exit(3)", "import time; time.sleep(60)", answers])
    start = subprocess.Popen

    def popen(_: list[str], **pipes: Any) -> Any:
        return start([sys.executable, "-c", next(programs)], **pipes)

    monkeypatch.setattr(subprocess, "Popen", popen)
    worker = Worker(tmp_path)
    assert worker.measure(Item("tiny"), 20.0) == {"failed": "its process ended with status 3"}
    assert worker.measure(Item("tiny"), 0.5) == {"failed": "no time left"}
    assert worker.measure(Item("tiny"), 20.0) == {}
    worker.close()


def way(name: str, loss: float, seconds: float, **more: Any) -> dict[str, Any]:
    own = [] if name == "today" else [name]
    figures = {"seconds_a_step": seconds, "tokens_per_second": 1 / seconds, "losses": [loss, loss], "norms": [1.0, 1.0]}
    return {"shape": "1b", "levers": own, "name": name, "kind": "way", **figures, **more}


def test_the_table_tells_levers_that_change_the_loss_or_do_not_repeat() -> None:
    lines = [
        {"device": "no GPU", "torch": "2", "absent": {}},
        way("today", 6.0, 0.2),
        way("compile", 6.0, 0.1),
        way("plain_engine", 6.1, 0.1),
        {"shape": "1b", "levers": ["keep_layers"], "name": "keep_layers", "kind": "way", "failed": "out of memory"},
        {**way("today", 6.0, 0.2), "kind": "again"},
        {**way("compile", 6.0000001, 0.1), "kind": "again"},
    ]
    rows = {line.split()[1]: line for line in levers_report.table(lines, {}, {}) if line.startswith("1b")}
    assert " yes " in rows["today"]
    assert " NO " in rows["compile"]
    assert " 2.000 " in rows["compile"]
    assert "TOO FAR" in rows["plain_engine"]
    assert "not run" in rows["plain_engine"]
    assert "out of memory" in rows["keep_layers"]


def test_all_ways_come_before_any_is_run_again() -> None:
    """So that a run which ends early has the speeds; levers about recompute are for the shape that recomputes."""
    todo = items(["1b", "7b"], list(LEVERS), 8)
    kinds = [one.kind for one in todo]
    assert kinds == sorted(kinds, key=["way", "fullest", "again"].index)
    assert all(not LEVERS[name].recomputing for one in todo if one.shape == "1b" for name in one.levers)
    assert {("keep_layers",), ("keep_attention",)} <= {one.levers for one in todo if one.shape == "7b"}
    assert todo[0] == Item("1b")


def test_the_choice_of_gpus_weighs_the_fullest_against_what_passes_between() -> None:
    shares = [
        {"gpus": 1, "recompute": True, "tokens": 10000, "gradients": 1.0, "update": 0.2},
        {"gpus": 8, "recompute": False, "tokens": 2048, "gradients": 0.2, "update": 0.2},
    ]
    lines = list(levers_report.choice("7b", shares))
    alone, eight = (line.split() for line in lines if line.strip().startswith(("1 ", "8 ")))
    assert [alone[6], alone[7]] == ["1.200", "1.200"]
    exchange = 6_738_415_616 * 6 * 7 / 8 / 200e9
    assert float(eight[5]) == pytest.approx(exchange, abs=1e-3)
    assert float(eight[7]) == pytest.approx(8 * (0.2 + 0.025 + exchange), abs=0.01)
