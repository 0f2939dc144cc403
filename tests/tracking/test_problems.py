"""What goes wrong in a tracker is told where people look: in status, and at the end of a launch."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.tracking import problems


@given(st.dictionaries(st.text(min_size=1), st.sampled_from(["", "wandb: a", "wandb: b", "mine: c"])))
def test_each_problem_is_one_line_with_its_stages(by_label: dict[str, str]) -> None:
    told = problems.lines(by_label)
    assert len(told) == len(set(by_label.values()) - {""})
    for line in told:
        (problem,) = {problem for problem in by_label.values() if problem and f" at {problem} (" in line}
        count = sum(one == problem for one in by_label.values())
        assert f"of {count} stage" in line


def test_the_newest_attempt_counts(tmp_path: Path) -> None:
    assert problems.problem_of(tmp_path) == ""
    problems.note(tmp_path, "wandb", "CommError: no\n  such host")
    assert problems.problem_of(tmp_path) == "wandb: CommError: no such host"
    problems.forget(tmp_path)
    assert problems.problem_of(tmp_path) == ""
    for text in ("", "[]", "{}", "3"):
        (tmp_path / problems.FILE).write_text(text)
        assert problems.problem_of(tmp_path) == ""
