"""`python -m bench.peers`: the table that is made of a recorded run, and each peer's side beside ours in miniature."""

import json
import math
from typing import Any

import pytest
from common import ROOT

from bench.peers import bare_hydra, human_eval, peer, submitit_launcher, table
from bench.peers.__main__ import NAMES, RESULTS, peers

RECORDED = json.loads(RESULTS.read_text())
MINIATURE: dict[str, tuple[dict[str, Any], str]] = {  # of each peer, a request and what both sides answer alike
    "fastchat": ({"rows": 2}, ""),
    "trl": ({"rows": 2}, ""),
    "bare_hydra": ({"points": 10}, ""),
    "submitit_launcher": ({"points": 2}, ""),
    "human_eval": ({"plus": False, "first": 3}, "passed"),
    "evalplus": ({"plus": True, "first": 3}, "passed"),
    "lm_eval": ({"first": 50}, "said"),
}


def said(*rows: peer.Row, **more: Any) -> dict[str, Any]:
    return {"peers": [{"title": "Other", "version": "1.2", "rows": [vars(row) for row in rows], **more}]}


def test_a_loss_is_printed_as_plainly_as_a_win() -> None:
    won = peer.row("encode", "tokens/s", "more", ([300.0, 100.0, 200.0], [100.0, 50.0, 100.0]), how="its way")
    lost = peer.row("run", "s", "less", ([4.0, 5.0], [2.0, 2.0]), note="pass: 3 / 3")
    lines = table.table(said(won, lost)).splitlines()
    assert lines[2] == "| encode: tokens/s | 200 | 100 | Other 1.2, its way | 2 (2-3) | |"
    assert lines[3] == "| run: s | 4.50 | 2 | Other 1.2 | 0.44 (0.40-0.50) **lost** | pass: 3 / 3 |"


def test_a_peer_that_did_not_run_is_named_with_the_reason() -> None:
    assert "\nNOT RUN: Other: no Slurm\n" in table.table({"peers": [{"title": "Other", "not_run": "no Slurm"}]})


def test_verdicts_that_differ_are_counted_and_told() -> None:
    row = peer.verdicts("answers", {"a": True, "b": False}, {"a": True, "b": True}, lambda name: {"why": f"of {name}"})
    assert (row.ours, row.theirs, row.note) == (1, 2, "same: 1 of 2")
    assert list(table.differences(said(row))) == ["Other, answers: answer 'b', ours False, theirs True, why 'of b'"]
    with pytest.raises(RuntimeError, match="not the same answers"):
        peer.verdicts("answers", {"a": True}, {"b": True}, lambda _: {})


def test_the_docs_have_the_table_of_the_recorded_run() -> None:
    assert table.table(RECORDED) in (ROOT / "docs" / "speed.md").read_text()


def test_every_peer_was_recorded_with_its_figures_or_the_reason() -> None:
    assert [one["name"] for one in RECORDED["peers"]] == list(NAMES)
    assert all(one.get("rows") or one["not_run"] for one in RECORDED["peers"])
    assert {file.stem for file in (ROOT / "bench" / "peers").glob("*.txt")} <= set(NAMES)


@pytest.mark.parametrize("grid", [bare_hydra.grid(20), submitit_launcher.grid(20)])
def test_a_grid_has_as_many_points_as_were_asked_for(grid: list[str]) -> None:
    assert math.prod(len(axis.partition("=")[2].split(",")) for axis in grid if "=" in axis) == 20


def test_ours_and_human_evals_run_the_canonical_programs() -> None:
    request, key = MINIATURE["human_eval"]
    ours, theirs = human_eval.ours(**request), human_eval.theirs(**request)
    assert ours[key] == theirs[key] == {f"HumanEval/{n}": True for n in range(3)}


@pytest.mark.slow
@pytest.mark.long  # needs environments of gigabytes; that theirs is as ours is a test above, and in the recorded run
@pytest.mark.parametrize("name", MINIATURE)
def test_both_sides_run_in_miniature(name: str) -> None:
    (one,) = peers([name])
    if lacking := one.lacks():
        pytest.skip(f"{one.title} NOT RUN: {lacking}")
    request, key = MINIATURE[name]
    ours, theirs = (peer.call(name, side, **request) for side in ("ours", "theirs"))
    assert ours
    assert theirs
    assert ours.get(key) == theirs.get(key)


@pytest.mark.slow
@pytest.mark.long  # losses against other programs: test_loss_oracle.py, test_decoders.py
def test_transformers_trainer_trains_what_ours_does() -> None:
    rows = list(peers(["hf_trainer"])[0].compare(peer.Settings(rounds=1, steps=1)))
    assert [row.how for row in rows] == ["padded", "flattened"]
    assert all(float(row.note.rpartition(" ")[2]) < 1e-4 for row in rows)
