"""The nearest namesake of a new stage is found however many there are, and each is read once."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.files.json_files import write_json
from sft_sweeps.identity import differences
from sft_sweeps.store import similar
from sft_sweeps.store.similar import FEW, Namesakes

LEAVES = st.integers(0, 3) | st.text("ab", max_size=2) | st.none()
PAYLOADS = st.fixed_dictionaries(
    {
        "parent": st.sampled_from(["p", "q"]),
        "recipe": st.fixed_dictionaries({"seed": LEAVES, "rate": LEAVES}),
        "mixture": st.lists(
            st.fixed_dictionaries({"source": LEAVES, "fraction": LEAVES}), min_size=2, max_size=2
        ),  # as the label says
    }
)


def folders(root: Path, payloads: list[Any]) -> list[Path]:
    made = [root / f"label-{n:012x}" for n in range(len(payloads))]
    for folder, payload in zip(made, payloads, strict=True):
        write_json(folder / "identity.json", payload, durable=False)
    return made


def own(changed: list[str]) -> int:
    """Fields that differ, but for the parent."""
    return sum(not text.startswith("parent ") for text in changed)


@given(payloads=st.lists(PAYLOADS, min_size=1, max_size=3 * FEW), wanted=PAYLOADS)
def test_what_is_found_differs_so_and_nothing_is_nearer_by_a_field(
    payloads: list[Any], wanted: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = folders(tmp_path_factory.mktemp("stages"), payloads)
    found = Namesakes(made).nearest(wanted)
    every = [changed for payload in payloads if (changed := differences(payload, wanted))]
    if found is None:
        assert not [changed for changed in every if own(changed) <= 1] or wanted in payloads
        return
    changed, against = found
    (folder,) = [one for one in made if one.name.endswith(against)]
    assert changed == differences(payloads[made.index(folder)], wanted)
    if wanted not in payloads and any(len(one) == 1 for one in every):
        assert len(changed) == 1


def test_each_is_read_once_and_few_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds of one stage: any of them is one field away."""
    payloads = [{"parent": "p", "recipe": {"seed": n, "rate": 1}} for n in range(100)]
    read: list[Path] = []
    compared: list[Any] = []
    reading, comparing = similar.read_json, similar.differences
    monkeypatch.setattr(similar, "read_json", lambda path: read.append(path) or reading(path))
    monkeypatch.setattr(similar, "differences", lambda a, b: compared.append(a) or comparing(a, b))
    known = Namesakes(folders(tmp_path, payloads))
    for seed in range(100, 200):
        found = known.nearest({"parent": "p", "recipe": {"seed": seed, "rate": 1}})
        assert found is not None
        assert len(found[0]) == 1
    assert len(read) == 100
    assert len(compared) <= 100 * (FEW + 4)


@pytest.mark.parametrize("text", ["", "[", "3", "[]", "null"])
def test_an_identity_that_cannot_be_read_is_passed_over(text: str, tmp_path: Path) -> None:
    made = folders(tmp_path, [{"parent": "p", "seed": 1}, {}])
    (made[1] / "identity.json").write_text(text)
    found = Namesakes(made).nearest({"parent": "p", "seed": 2})
    assert found == (["seed 1 -> 2"], made[0].name[-12:])
    assert Namesakes([]).nearest({"parent": "p"}) is None
