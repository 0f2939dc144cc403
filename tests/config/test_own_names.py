"""Keys that end in a name of the user's own: Hydra is given them as additions; they are shown as they were typed."""

import json
from pathlib import Path

import pytest
from fuzzing import answer

from sft_sweeps.config.grid import axes
from sft_sweeps.config.own_names import addable, as_typed

COLUMNS = "data.sources.general.columns"
OWN = ("data.repeat.own=2", "data.fractions.law=1/4", f"{COLUMNS}={{prompt: a}}", "data.sources.x.roles.Ann=human")
OTHERS = ("train.seed=1", "data.repeat=3", "data.repeats.math=2", "data.sources.x.path=a", "+data.sources.x.roles.A=a")


@pytest.mark.parametrize("typed", [*OWN, *OTHERS])
def test_what_is_added_is_typed_again(typed: str) -> None:
    assert addable(typed) == (f"++{typed}" if typed in OWN else typed)
    assert as_typed(addable(typed)) == typed


def test_a_study_restricts_what_it_sweeps_of_own_names() -> None:
    """Whether or not a file of conf/ has the key."""
    typed = ("data.repeat.mini_math=2,4", "data.repeat.math=2", f"{COLUMNS}.prompt=a,b", "train.seed=1")
    assert axes(map(addable, typed)) == {
        "data.repeat.mini_math": ["2", "4"],
        "data.repeat.math": ["2"],
        f"{COLUMNS}.prompt": ["a", "b"],
        "train.seed": ["1"],
    }


def test_points_are_called_what_was_typed(tmp_path: Path) -> None:
    rows = tmp_path / "own.jsonl"
    rows.write_text("".join(json.dumps({"frage": f"{n}?", "antwort": "2"}) + "\n" for n in range(20)))
    line = ("model=mini", "train=mini", "data=mini", "evaluate=none", f"+data.sources.own.path={rows}")
    named = ("data.sources.own.columns.prompt=frage", "data.sources.own.columns.response=antwort", "data.repeat.own=1")
    given = answer([*line, *named, "--json"], tmp_path / "out")
    assert given.status == 0, given.error
    (run,) = json.loads(given.out)["plan"]["runs"]
    assert not any(word.startswith("++") for point in run["points"] for word in point.split()), run["points"]
    assert all(word in run["points"][0] for word in named)
