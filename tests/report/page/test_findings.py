"""What the page says first follows from the numbers; bad input is a note or a message, never a wrong number."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_sweeps import claim, made, score
from values import RECIPE, benchmark, mixed, request

from sft_sweeps.errors import RequestError
from sft_sweeps.plan.build import Plan, build
from sft_sweeps.report.page import build as page
from sft_sweeps.report.page import costs, evidence, findings, notes
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.store.answers import VERDICTS
from sft_sweeps.store.store import Store

SCORED: dict[str, Any] = {"benchmarks": (benchmark(ability="math"),)}
CLAIM = claim("Mixing keeps more", "strategy=multi_task", "strategy=sequential")


def plan(seeds: int = 1, *claims: Any, **changes: Any) -> Plan:
    """Multi-task and sequential training, so many seeds of each."""
    points = [
        (f"strategy={name} train.seed={n}", request(mixed(), name, recipe=replace(RECIPE, seed=n), **SCORED | changes))
        for name in ("multi_task", "sequential")
        for n in range(seeds)
    ]
    return build(points, claims)


def kept(mixing: int, sequential: int, n: int = 100) -> Any:
    """So many of the items are right after either strategy."""

    def right(of: Score) -> list[bool]:
        count = sequential if len(of.generation.subject.chain) > 1 else mixing
        return [index < count for index in range(n)]

    return right


def found(root: Path, of: Plan, right: Any) -> findings.Findings:
    return findings.findings([read(root, of, right)])


def read(root: Path, of: Plan, right: Any) -> evidence.Evidence:
    return evidence.read(made(root, of, right), root)


@pytest.mark.parametrize(
    ("mixing", "sequential", "outcome", "begins"),
    [
        (80, 40, "confirmed", "Mixing keeps more: +40.0 points ["),
        (40, 80, "contradicted", "The opposite of what was claimed: “Mixing keeps more”, but −40.0 points ["),
        (52, 50, "not settled", "Not settled: “Mixing keeps more”. The difference is +2.0 points ["),
        (50, 50, "not settled", "Not settled: “Mixing keeps more”. The difference is +0.0 points ["),
    ],
)
def test_a_claim_is_what_its_interval_says(
    mixing: int, sequential: int, outcome: str, begins: str, tmp_path: Path
) -> None:
    said = found(tmp_path, plan(1, CLAIM), kept(mixing, sequential))
    assert [one.outcome for one in said.claims] == [outcome]
    assert said.headline.startswith(begins)
    assert "n=100" in said.headline
    assert said.basis == f"1 claim named in advance: 1 {outcome}."
    assert said.exploratory == ()  # the only difference is the claimed one


def test_seeds_of_a_claim_are_one_pair(tmp_path: Path) -> None:
    (one,) = found(tmp_path, plan(3, CLAIM), kept(80, 40)).claims
    (pair,) = one.pairs
    assert (pair.ours.seeds, pair.theirs.seeds, one.outcome) == ((0, 1, 2), (0, 1, 2), "confirmed")


def test_without_claims_the_first_sentence_says_that_it_is_exploratory(tmp_path: Path) -> None:
    said = found(tmp_path, plan(), kept(80, 40))
    assert said.headline.startswith("mini sequential is worse than mini multi_task on mini_math: −40.0 points")
    assert said.basis.startswith("Exploratory: no claim was named in advance; 1 of 1 difference")


def test_noise_is_no_finding(tmp_path: Path) -> None:
    said = found(tmp_path, plan(), kept(52, 50))
    assert said.headline.startswith("No difference between these runs and their reference is larger than noise.")


@pytest.mark.parametrize(
    ("of", "headline"),
    [
        (build([]), "This sweep has no runs: its grid is empty."),
        (plan(benchmarks=()), "Nothing is scored: no benchmark is named."),
        (plan(), "Nothing is scored yet: 0 of 2 scores are done."),
        (plan(1, CLAIM), "Nothing is scored yet: 0 of 2 scores are done."),
    ],
    ids=["empty grid", "no benchmark", "nothing finished", "claim untested"],
)
def test_a_page_of_nothing_says_so(of: Plan, headline: str, tmp_path: Path) -> None:
    text = page.html([read(tmp_path, of, lambda _: [])])
    assert f"<h1>{headline}</h1>" in text
    assert "0.0 %" not in text


def test_a_seed_that_is_missing_is_noted_and_listed(tmp_path: Path) -> None:
    of = plan(3)
    lost = of.runs[1].id

    def right(one: Score) -> list[bool]:
        return [] if one.generation.subject.id == lost else kept(80, 40)(one)

    seen = read(tmp_path, of, right)
    note = "mini multi_task has 2 of 3 training seeds on mini_math: seed 1 is missing"
    assert notes.notes([seen]) == [note]
    assert len(seen.results.missing) == 1


def test_two_protocols_share_no_axis_and_what_they_differ_in_is_named(tmp_path: Path) -> None:
    first = read(tmp_path, plan(), kept(80, 40))
    longer = plan(benchmarks=(benchmark(ability="math", max_new_tokens=99),))
    both = [first, replace(read(tmp_path, longer, kept(50, 50)), name="longer")]
    (note,) = (one for one in notes.notes(both) if "protocols" in one)
    assert "mini_math is scored by two protocols" in note
    assert "max_new_tokens 8 -> 99" in note
    shown = page.context(both)
    assert len(shown["score_charts"]) == len(shown["table"].columns) == 2
    assert all("protocol" in name for name in shown["table"].columns)
    for pair in findings.findings(both).exploratory:
        assert pair.ours.first.protocol == pair.theirs.first.protocol


def test_verdicts_that_cannot_be_read_leave_the_score_and_no_comparison(tmp_path: Path) -> None:
    of = plan()
    sweep = made(tmp_path, of, kept(80, 40))
    path = Store(tmp_path).score(of.scores[0]) / VERDICTS
    path.write_bytes(b"x" * path.stat().st_size)
    seen = evidence.read(sweep, tmp_path)
    assert any("verdicts of 1 score cannot be read" in note for note in notes.notes([seen]))
    assert findings.findings([seen]).exploratory == ()
    assert "80.0 %" in page.html([seen])


def test_a_run_that_two_sweeps_share_is_one_and_namesakes_are_told_apart(tmp_path: Path) -> None:
    first = read(tmp_path, plan(), kept(80, 40))
    other = build(
        [
            ("strategy=multi_task", request(mixed(), **SCORED)),
            ("lr", request(mixed(), recipe=replace(RECIPE, learning_rate=0.5), **SCORED)),
        ]
    )
    second = replace(read(tmp_path, other, kept(60, 60)), name="second")
    table = page.context([first, second])["table"]
    assert table.rows[0].sweeps == "made, second"
    assert len({row.label for row in table.rows}) == len(table.rows) == 3


def test_anothers_page_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<html>mine</html>")
    with pytest.raises(RequestError, match=r"index\.html is no report of this program and is not overwritten"):
        page.check(tmp_path)
    (tmp_path / "index.html").write_text(f"<html>{page.MARK} 0.1")  # half-written: ours
    page.check(tmp_path)


def test_the_command_spans_the_points_it_is_made_of() -> None:
    assert costs.command(["study=x model=a", "study=x model=a strategy=dmt"]) == ["study=x model=a"]
    assert costs.command(["m=a k=1", "m=a k=2", "m=b k=1", "m=b k=2"]) == ["m=a,b k=1,2"]
    assert costs.command(["m=a k=1", "m=b k=2"]) == ["m=a k=1", "m=b k=2"]
    assert costs.command([]) == []


def test_a_score_is_shown_with_as_many_decimals_everywhere(tmp_path: Path) -> None:
    of = plan()
    sweep = made(tmp_path, of, kept(80, 40))
    score(Store(tmp_path), of.scores[0], [True] * 100)
    text = page.html([evidence.read(sweep, tmp_path)])
    assert "100.0 %" in text
    assert text == page.html([evidence.read(sweep, tmp_path)])  # the same scores, the same bytes
