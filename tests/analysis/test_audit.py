"""The audit finds what was found by hand in the paper's tables, and in made tables what was put there."""

import csv
import json
import time
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sft_sweeps.analysis import audit_counts, audit_paper, audit_table, paper
from sft_sweeps.analysis.audit import Audit, audited
from sft_sweeps.analysis.audit_claims import Claim, against
from sft_sweeps.analysis.audit_table import Layout
from sft_sweeps.commands.audit import as_json, text
from sft_sweeps.errors import RequestError
from sft_sweeps.report import tables
from sft_sweeps.report.collect import Results
from sft_sweeps.stats import mcnemar


@pytest.fixture(scope="module")
def audit() -> Audit:
    return audited(audit_paper.table(), audit_paper.reference(), audit_paper.CLAIMS)


def possible(n: int, digits: int) -> set[str]:
    """Every text that k/n may be printed as: rounded by Python, half up, or cut off."""
    step, texts = Decimal(1).scaleb(-digits), set()
    for k in range(n + 1):
        share = Decimal(100 * k) / n
        texts |= {str(share.quantize(step, mode)) for mode in ("ROUND_HALF_EVEN", "ROUND_HALF_UP", "ROUND_DOWN")}
    return texts


@given(st.integers(1, 400), st.integers(0, 2), st.integers(0, 10_000))
def test_what_can_be_k_of_n(n: int, digits: int, unit: int) -> None:
    """Against a list of all texts; the chance of a fit is the share of texts that are on it."""
    unit %= 100 * 10**digits + 1
    texts = {Decimal(text) for text in possible(n, digits)}
    value = Decimal(unit).scaleb(-digits)
    half_down = {Decimal(100 * k) / n - Decimal(1).scaleb(-digits) / 2 for k in range(n + 1)}
    assert audit_counts.is_count(unit, digits, n) == (value in texts or value in half_down)
    listed = len(texts | {value for value in half_down if value >= 0 and value == round(value, digits)})
    assert audit_counts.chance(n, digits) == pytest.approx(listed / (100 * 10**digits + 1), abs=2 / 10 ** (digits + 2))


def test_a_last_zero_may_be_no_digit() -> None:
    """30/164 is 18.29: printed as 18.3 or 18.30, never as 18.4."""
    assert audit_counts.fits(Decimal("18.29"), 2, 164) == 2
    assert audit_counts.fits(Decimal("18.30"), 2, 164) == 1
    assert audit_counts.fits(Decimal("18.4"), 1, 164) is None
    assert audit_counts.beside(Decimal("18.4"), 164) == [
        (30, pytest.approx(18.293, abs=1e-3)),
        (31, pytest.approx(18.902, abs=1e-3)),
    ]
    assert audit_counts.beside(Decimal(100), 10)[-1] == (10, 100.0)


@given(st.integers(0, 12), st.floats(0, 1))
def test_so_many_hits_by_chance(hits: int, p: float) -> None:
    assert audit_counts.at_least(hits, [p] * 12) == pytest.approx(binom.sf(hits - 1, 12, p), abs=1e-9)


# What paper_reference.md found by hand, in its sections 1 to 6.


def test_33b_was_scored_on_165_questions(audit: Audit) -> None:
    (suspected,) = [one for one in audit.items if one.suspected]
    best = suspected.suspected
    assert best
    assert (suspected.benchmark, suspected.group, best.n, best.hits, best.of) == ("gsm8k", "llama33b", 165, 7, 12)
    assert best.p == pytest.approx(4e-9, rel=0.1)
    others = {
        "26.06",
        "56.69",
        "47.27",
        "44.24",
        "56.36",
        "56.10",
        "44.60",
        "29.21",
        "54.54",
        "53.33",
        "46.66",
        "36.54",
    }
    values = [(Decimal(value), 2) for value in others]
    assert audit_counts.fit(values, 330).p == pytest.approx(4e-7, rel=0.1)


def test_cells_on_no_grid(audit: Audit) -> None:
    off = {(one.entry.group, one.entry.benchmark, one.entry.printed) for one in audit.off}
    assert off == {
        ("llama7b", "gsm8k", "22.71"),
        ("llama7b", "gsm8k", "41.98"),
        ("llama33b", "gsm8k", "56.69"),
        ("llama33b", "gsm8k", "29.21"),
        ("llama33b", "gsm8k", "57.91"),
        ("llama7b", "humaneval", "18.4"),
        ("llama13b", "humaneval", "18.4"),
        ("llama33b", "humaneval", "18.59"),
        ("llama33b", "humaneval", "18.6"),
        ("llama33b", "humaneval", "24.80"),
        ("llama7b", "humaneval", "9.16"),
        ("llama7b", "humaneval", "11.37"),
    }
    # 8 distinct scores of HumanEval: 11.37 is of two runs.
    assert len({one.entry.spot for one in audit.off if one.entry.benchmark == "humaneval"}) == 8


def test_six_scores_are_screls(audit: Audit) -> None:
    assert sorted({float(one.entry.printed) for one in audit.matches}) == [35.9, 43.0, 49.1, 51.4, 54.6, 57.9]
    assert {one.reference.row for one in audit.matches} == {"SFT", "RFT-U33B"}
    assert audit.matches_expected < 0.5


def test_equal_values_where_runs_differ(audit: Audit) -> None:
    impossible = {(one.benchmark, one.printed) for one in audit.equals if not one.possible}
    assert impossible == {("humaneval", "18.4"), ("humaneval", "11.37")}
    (moved,) = [one for one in audit.equals if one.printed == "50.49"]
    assert [entry.row for entry in moved.entries] == ["Mix(k=1)", "DMT (k=1)"]


def test_one_ordering_of_humaneval_in_nine_could_be_significant(audit: Audit) -> None:
    counted = [one for one in audit.verdicts if one.benchmark == "humaneval"]
    assert len(counted) == 9
    assert [(one.group, one.claim.than, one.counts) for one in counted if one.possible] == [
        ("llama33b", "Multi-task learning", (41, 31))
    ]
    found = {(one.group, one.claim.than): one for one in counted}
    assert found["llama7b", "Multi-task learning"].least_p == 0.0625
    assert found["llama7b", "Mixed Sequential Training"].least_p == 0.125
    assert found["llama13b", "Sequential Training"].counts == (32, 33)


def test_unpaired_tests_of_gsm8k(audit: Audit) -> None:
    unpaired = {(one.group, one.claim.than): one.unpaired_p for one in audit.verdicts if one.benchmark == "gsm8k"}
    assert unpaired["llama7b", "Multi-task learning"] == pytest.approx(0.004, abs=5e-4)
    assert unpaired["llama7b", "Sequential Training"] == pytest.approx(2e-8, rel=0.05)
    assert unpaired["llama33b", "Multi-task learning"] == pytest.approx(0.95, abs=0.005)
    assert unpaired["llama33b", "Sequential Training"] == pytest.approx(0.10, abs=0.005)
    assert unpaired["llama33b", "Mixed Sequential Training"] == pytest.approx(0.03, abs=0.005)


def test_what_the_benchmarks_can_tell_apart(audit: Audit) -> None:
    found = {(one.benchmark, one.n): one for one in audit.resolutions}
    assert found["gsm8k", 1319].paired == pytest.approx(3.4, abs=0.06)
    assert found["gsm8k", 165].paired == pytest.approx(9.7, abs=0.06)
    assert found["gsm8k", 165].half_width == pytest.approx(7.5, abs=0.2)
    assert found["mt_bench", 80].unpaired is None


def test_the_flags_of_the_papers_cells_are_what_the_audit_finds(audit: Audit) -> None:
    def named(cells: Sequence[paper.Cell]) -> set[str]:
        return {f"T{cell.table} {cell.row}, {cell.model} {cell.benchmark}" for cell in cells}

    own = [cell for cell in paper.cells() if not cell.second_hand]
    assert named([cell for cell in own if cell.off_grid]) == {one.entry.where for one in audit.off}
    copied = {match.entry.spot for match in audit.matches}
    assert named([cell for cell in own if cell.copied_from]) == {
        entry.where for entry in audit.table.entries if entry.spot in copied
    }
    differing = {entry.where for conflict in audit.conflicts for entry in conflict}
    assert differing == named([cell for cell in own if any(other.startswith("T") for other in cell.differs_from)])
    for cell in own:
        if cell.n_suspected:
            value, digits = Decimal(cell.printed), len(cell.printed.partition(".")[2])
            assert audit_counts.fits(value, digits, 1319) is None
            assert audit_counts.fits(value, digits, 165) is not None


# Made tables.


def table(path: Path, rows: Sequence[str]) -> Path:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def scores(n: int, seed: int, size: int = 12) -> list[str]:
    drawn = np.random.default_rng(seed).integers(n // 10, n // 2, size)
    return [f"{100 * int(k) / n:.2f}" for k in drawn]


@pytest.mark.parametrize("n", [137, 200, 330])
def test_another_n_is_found(tmp_path: Path, n: int) -> None:
    rows = ["name,gsm8k", *(f"m{i},{value}" for i, value in enumerate(scores(n, seed=n)))]
    found = audited(audit_table.read(table(tmp_path / "t.csv", rows), Layout()))
    (items,) = found.items
    assert items.suspected
    assert items.likely == n
    assert found.off == ()


def test_an_honest_table_is_left_in_peace(tmp_path: Path) -> None:
    """None is said to be of another n, and no cell to be impossible, with two decimals, one, or one and a 0."""
    for seed in range(2):
        for benchmark, n in (("humaneval", 164), ("gsm8k", 1319)):
            for cut, end in ((0, ""), (1, ""), (1, "0")):
                values = [f"{float(value):.{2 - cut}f}{end}" for value in scores(n, seed)]
                rows = [f"name,{benchmark}", *(f"m{i},{value}" for i, value in enumerate(values))]
                found = audited(audit_table.read(table(tmp_path / "t.csv", rows), Layout()))
                assert [one.suspected for one in found.items] == [None]
                assert found.off == ()


def test_wide_and_long_tables_say_the_same(tmp_path: Path) -> None:
    """Marks of bold print, percent signs, other delimiters, a byte order mark, comments and shares."""
    wide = table(
        tmp_path / "w.csv", ["\ufeffMethod,A Human-Eval,MT Bench", "x,**18.29 %**,5.1", r"y,\textbf{17.68},<b>6</b>"]
    )
    long = table(
        tmp_path / "l.csv", ["# made", "task;method;model;score", "HumanEval;x;A;0.1829", "humaneval;y;A;0.1768"]
    )
    first, second = (audit_table.read(path, Layout()).entries for path in (wide, long))
    key = [(one.row, one.group, one.value, one.digits, one.n) for one in second]
    assert [(one.row, one.group, one.value, one.digits, one.n) for one in first if one.n] == key
    assert [one.value for one in first if one.graded] == [Decimal("5.1"), Decimal(6)]


def test_small_percentages_and_shares_are_told_apart_or_the_reading_is_said(tmp_path: Path) -> None:
    found = audit_table.read(table(tmp_path / "t.csv", ["method,humaneval", "a,0.61", "b,0"]), Layout())
    assert (found.shares, [float(one.value) for one in found.entries]) == (("humaneval",), [61.0, 0.0])
    found = audit_table.read(table(tmp_path / "t.csv", ["method,humaneval", "a,0.61 %", "b,0"]), Layout())
    assert (found.shares, [float(one.value) for one in found.entries]) == ((), [0.61, 0.0])


def test_text_is_counted_and_named_never_read(tmp_path: Path) -> None:
    rows = ["method,gsm8k", "a,47.5", "b,1O.5", "c,101", "d,nan", "e,-", "f,١٢", "g,47,5", "h,1e2", "i,"]
    found = audit_table.read(table(tmp_path / "t.csv", rows), Layout())
    assert [one.printed for one in found.entries] == ["47.5"]
    assert [text.split(": ")[-1] for text in found.skipped] == [
        "more or fewer values than columns", "1O.5", "101", "nan", "١٢", "1e2"
    ]  # fmt: skip
    assert "row 2 (b), gsm8k: 1O.5" in found.skipped
    graded = audit_table.read(table(tmp_path / "g.csv", ["method,mt_bench", "a,57.6", "b,5.76"]), Layout())
    assert graded.skipped == ("row 1 (a), mt_bench: 57.6",)


def test_items_of_other_benchmarks_are_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", ["method,mbpp,gsm8k", "a,50.1,47.5", "b,2,3"])
    assert audit_table.read(path, Layout()).unread == ("mbpp",)
    read = audit_table.read(path, Layout(items={"mbpp": 500}))
    assert {(one.benchmark, one.n) for one in read.entries} == {("mbpp", 500), ("gsm8k", 1319)}
    long = table(tmp_path / "l.csv", ["benchmark,value,n,metric", "mini,0.25,8,accuracy", "loss,1.2,9,nats"])
    found = audit_table.read(long, Layout())
    assert [(one.benchmark, one.n) for one in found.entries] == [("mini", 8), ("loss", None)]
    assert found.unread == ("loss",)


def test_orderings_of_a_made_table(tmp_path: Path) -> None:
    rows = ["method,humaneval,mt_bench", "new,20.12,6.0", "old,16.46,5.5", "other,20.12,6"]
    read = audit_table.read(table(tmp_path / "t.csv", rows), Layout())
    found = audited(read, claims=against("new", read.entries))
    humaneval = {one.claim.than: one for one in found.verdicts if one.benchmark == "humaneval"}
    assert humaneval["old"].least_p == mcnemar(6, 0)
    assert humaneval["old"].possible
    assert not humaneval["other"].possible
    grades = [one for one in found.verdicts if one.benchmark == "mt_bench"]
    assert [one.possible for one in grades] == [None, None]
    for ordering in ("new", "new > ", "new>old"):
        with pytest.raises(RequestError, match="is no ordering"):
            Claim.parsed(ordering)
    with pytest.raises(RequestError, match="did you mean old"):
        audited(read, claims=[Claim.parsed("new > olds")])


def test_one_run_with_two_values(tmp_path: Path) -> None:
    """Only where columns are named that say what a run is."""
    path = table(tmp_path / "t.csv", ["part,method,gsm8k", "1,a,47.5", "2,a,47.6", "2,b,47.6"])
    assert audited(audit_table.read(path, Layout())).conflicts == ()
    (conflict,) = audited(audit_table.read(path, Layout(same=("method",)))).conflicts
    assert [one.printed for one in conflict] == ["47.5", "47.6"]


@pytest.mark.parametrize(
    ("rows", "layout", "message"),
    [
        (["method,speed", "a,3"], Layout(), "no column of scores"),
        (["method,gsm8k"], Layout(), "holds no row"),
        (["method,gsm8k", "a,3"], Layout(by=("metod",)), "no column metod; did you mean method"),
        (["gsm8k,gsm8k", "1,2"], Layout(), "several columns called gsm8k"),
    ],
)
def test_what_is_no_table_of_scores(tmp_path: Path, rows: list[str], layout: Layout, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        audit_table.read(table(tmp_path / "t.csv", rows), layout)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("méthode,gsm8k\na,3\n".encode("latin-1"))
    for path in (tmp_path, tmp_path / "nothing.csv", tmp_path / "latin.csv"):
        with pytest.raises(RequestError):
            audit_table.read(path, Layout())


def test_a_reports_own_table(tmp_path: Path) -> None:
    """Of results.csv: the scores of single runs; a mean over seeds is k of n for no k, and is none of them."""
    rows = [
        {"run": "a", "model": "m", "benchmark": "gsm8k", "metric": "accuracy", "value": 648 / 1319, "n": 1319},
        {"run": "b", "model": "m", "benchmark": "mini_math", "metric": "accuracy", "value": 2 / 3, "n": 120},
        {"run": "a", "benchmark": "gsm8k", "metric": "mean over seeds", "value": 0.4912, "n": 1319, "seed": "mean"},
    ]
    header = next(tables.lines(Results("s", "", (), (), ())))
    lines = [",".join(str(row.get(column, "")) for column in header) for row in rows]
    found = audited(audit_table.read(table(tmp_path / "results.csv", [",".join(header), *lines]), Layout()))
    assert [(one.benchmark, one.on, one.of) for one in found.items] == [("gsm8k", 1, 1), ("mini_math", 1, 1)]
    assert found.off == ()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_characters="\r\n\0"), max_size=6) | st.floats(0, 100).map(str)] * 3),
        min_size=1,
        max_size=6,
    )
)
def test_any_cells_end_in_an_audit_or_in_a_message(rows: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("method", "gsm8k", "B humaneval"), *rows])
        try:
            found = audited(audit_table.read(path, Layout()), scan=(50, 60))
        except RequestError:
            return
        cells = [cell for row in rows for cell in row[1:]]
        left = [cell for cell in cells if cell.strip() not in audit_table.MISSING]
        assert len(found.table.entries) + len(found.table.skipped) in range(len(left) // 2, len(cells) + 1)
        assert text.findings(found)
        json.dumps(as_json.document(found, "t"))


def test_a_large_table_takes_seconds(tmp_path: Path) -> None:
    values = scores(164, 1, 600)
    path = table(tmp_path / "t.csv", ["method,humaneval", *(f"m{n},{value}" for n, value in enumerate(values))])
    start = time.process_time()
    read = audit_table.read(path, Layout())
    found = audited(read, claims=against("m0", read.entries))
    assert len(found.verdicts) == 599
    assert time.process_time() - start < 4
