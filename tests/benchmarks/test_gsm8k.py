"""GSM8K's rules: real outputs with the verdicts of independent implementations, and what models write to break them."""

import gzip
import json
import time
from collections import Counter

import pytest
import references
from common import SHARED, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.benchmarks import gsm8k, gsm8k_file
from sft_sweeps.errors import RequestError

ORACLES = SHARED / "data" / "oracles"
THEIRS = {"screl_strict": "screl", "lm_eval_strict": "lm_eval_strict", "lm_eval_flexible": "lm_eval_flexible"}


@pytest.fixture(scope="module")
def real():
    with gzip.open(ORACLES / "gsm8k_scorer.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@needs_shared
def test_every_recorded_verdict_is_reproduced(real):
    tricky = [json.loads(line) for line in (ORACLES / "gsm8k_scorer_tricky.jsonl").read_text().splitlines()]
    assert (len(real), len(tricky)) == (5940, 36)
    wrong, right = [], 0
    for row in real + tricky:
        ours = gsm8k.verdicts(row["output"], row["gold"])
        for name, theirs in THEIRS.items():
            right += ours[name] == row["verdict"][theirs]
            wrong += [(row["id"], name)] if ours[name] != row["verdict"][theirs] else []
    assert wrong == []
    assert right == 3 * 5976


@needs_shared
def test_openais_graded_solutions_are_graded_alike(real):
    """Their marker is `A:`; with ours in its place the strict rules must say what OpenAI recorded."""
    graded = [row for row in real if row["output_with_hash_marker"] is not None and row["recorded"] is not None]
    assert len(graded) == 2632
    for row in graded:
        assert gsm8k.screl_strict(row["output_with_hash_marker"], row["gold"]) == row["verdict"]["openai_A_marker"]


@needs_shared
def test_the_headline_differs_from_the_papers_rule_by_an_item_or_two(real):
    """Where models keep the format, the choice of rule must not matter (measured: at most 2 of 660)."""
    counts = Counter()
    for row in (row for row in real if row["set"] == "rft_u13b_7b"):
        found = gsm8k.verdicts(row["output"], row["gold"])
        counts[row["run"]] += found["hierarchical"] - found["screl_strict"]
    assert len(counts) == 5
    assert all(0 <= more <= 2 for more in counts.values()), counts


@needs_shared
def test_real_outputs_are_scored_in_time(real):
    """1,319 items by all rules; the bench holds it to half a second, this to no surprise on a busy machine."""
    started = time.perf_counter()
    for row in real[:1319]:
        gsm8k.verdicts(row["output"], row["gold"])
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        ("#### 18.00", "18", "sh"),
        ("#### $18", "18", "fh"),
        ("####18", "18", "fh"),
        ("####\n18", "18", "fh"),
        ("#### $1,000.00", "1000", "h"),
        ("The answer is: 18", "18", "fh"),
        ("**Answer: 18**", "18", "fh"),
        (r"so \boxed{18}", "18", "fh"),
        (r"\boxed{3} or rather \boxed{18} of 20", "18", "h"),
        ("The answer is $18.00.", "18", "h"),
        ("... 18 dollars, which is the total.", "18", "fh"),
        ("#### 18\n\nUSER: and? ASSISTANT: #### 90", "18", "slh"),
        ("the answer is 18 eggs in 2 days.", "18", "h"),
        ("#### 1/2", "0.5", "h"),
        ("#### −5", "-5", "h"),
        ("#### -5", "-5", "slfh"),
        ("#### .5", "0.5", "sh"),
        ("#### (18)", "18", "fh"),
        ("#### 18 \n#### 20", "18", "slh"),
        ("#### none\n#### 18", "18", "slfh"),
        ("range 3-7", "7", "h"),
        ("#### 1e3", "1000", "h"),
        ("#### 1e9999", "1", "sl"),
        ("#### 1e9999999999", "1", "sl"),
        ("#### 1/0", "1", "sl"),
        ("NaN", "18", ""),
        ("#### inf", "18", ""),
        ("", "18", ""),
        ("#### " + "9" * 5000, "18", ""),
        ("#### \ud835\udfcf\ud835\udfd6", "18", ""),
    ],
)
def test_what_models_write(text, gold, right):
    """s ScRel, l lm-eval strict, f flexible, h hierarchical; the letters are the rules that call it right."""
    found = gsm8k.verdicts(text, gold)
    letters = dict(zip(gsm8k.RULES, "slfh", strict=True))
    assert "".join(letters[name] for name in gsm8k.RULES if found[name]) == right


PIECES = [
    "#### ",
    "####",
    "18",
    "-18",
    "1,8",
    "18.0",
    "18.",
    ".",
    ",",
    "-",
    "$",
    " ",
    "\n",
    "\0",
    "5 eggs",
    "the answer is ",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join))
def test_the_published_rules_judge_as_their_programs_do(text):
    found = gsm8k.verdicts(text, "18")
    for ours, theirs in THEIRS.items():
        assert found[ours] == getattr(references, theirs)(text, "18"), ours


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("the answer is 18\nUSER: and with 5 more? ... 5", 18),
        ("the answer is 18</s> the answer is 5", 18),
        ("18 eggs USER: 5", 18),
        ("so 18</s>5", 18),
        ("USER: 18", None),
    ],
)
def test_what_follows_the_end_of_the_answer_is_not_read(text, number):
    """Neither a question that the model goes on to ask itself, nor text behind an end token that it writes out."""
    assert gsm8k.extract(text) == number


@pytest.mark.parametrize(
    ("number", "right"),
    [("18", True), ("18.00009", True), ("17.99991", True), ("18.0001", False), ("17.9999", False), ("18.01", False)],
)
def test_a_number_is_right_within_a_ten_thousandth(number, right):
    """ScRel's tolerance, which the headline shares exactly (17.9999 is within it as a float, and not as a number)."""
    for gold in ("18", "18.0"):
        assert gsm8k.hierarchical(f"#### {number}", gold) == right
        assert gsm8k.screl_strict(f"#### {number}", gold) == references.screl(f"#### {number}", gold)


@given(st.text(), st.integers(-(10**9), 10**9))
def test_no_text_breaks_a_rule(text, gold):
    assert set(gsm8k.verdicts(text, str(gold))) == set(gsm8k.RULES)


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc .\n", max_size=30))
def test_the_format_is_right_by_every_rule(number, before):
    text = f"{before}\n#### {number:,}"
    assert all(gsm8k.verdicts(text, str(number)).values())
    assert gsm8k.formatted(text)


@pytest.mark.parametrize(
    "piece",
    [
        "1",
        "1,",
        "#### ",
        "answer ",
        "answer is",
        "\\boxed{",
        "-",
        "$ ",
        "1/",
        "1e",
        " ",
        "1.",
        "( ",
        "{",
        ",.",
        "\\boxed{}",
        "answer: =",
        "=",
        "_",
        "\\frac{",
        "answer: a\n",
    ],
)
def test_a_megabyte_takes_no_longer_than_it_must(piece):
    """A pattern that backtracks quadratically would take hours of the processor here, however busy the machine."""
    started = time.process_time()
    gsm8k.verdicts(piece * (10**6 // len(piece)), "18")
    assert time.process_time() - started < 10


CALCULATIONS = ["{n}", "20 + 3 = {n}", "she has 20 and 3, 20 + 3 = {n}", "9 hens * $2 = {n}", "x = y = {n}", "20 ≈ {n}"]
WRAPPERS = [
    "{n}",
    "${n}",
    "**{n}**",
    "_{n}_",
    "__{n}__",
    "*{n}*",
    "`{n}`",
    "Rs.{n}",
    "Rs. {n}",
    "是{n}",
    "는{n}",
    "{n}個",
]
MARKERS = ["Answer: {c}", "**Answer:** {c}", "The answer is {c}.", "the final answer: {c}", "answer = {c}", "#### {c}"]


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(MARKERS),
    st.sampled_from(CALCULATIONS),
    st.sampled_from(WRAPPERS),
    st.sampled_from(["", "\n\nI sold 5 of them in 3 days."]),
)
def test_a_markers_line_may_calculate(number, marker, calculation, wrapper, after):
    """However the number is written, it is the one after the last `=` of the marker's line."""
    text = marker.format(c=calculation.format(n=wrapper.format(n=f"{number:,}"))) + after
    assert gsm8k.extract(text) == number, text


@given(
    st.integers(0, 10**9),
    st.sampled_from(
        ["{n}", r"\text{{{n}}}", r"{n}\text{{ dollars}}", r"\$ {n}", r"\mathbf{{\text{{{n}}}}}", "3 * x = {n}"]
    ),
    st.sampled_from([",", "{,}", r"\,", r",\!", ""]),
    st.sampled_from(["", " over 7 days", r" and \{5\}", "\nThe answer is 5"]),
)
def test_a_box_is_read_to_its_own_end(number, inside, separator, after):
    inner = inside.format(n=f"{number:,}".replace(",", separator))
    assert gsm8k.extract(rf"so \boxed{{3}}, or \boxed{{{inner}}}{after}") == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Answer: She eats 3.\nShe bakes with 4.\n16-3-4=9.\n9*2=$18", 18),
        ("Answer: She eats 3.\n16-3-4=9.\nSo she makes 18 dollars.\n\nOf 5 days", 18),
        ("Answer: Janet makes 18 dollars.\n\nThat is 9 * 2 = 18, for 7 days", 18),
        ("The answer is 18 because 3 + 4 = 7", 18),
        ("The answer is 18 eggs (x = 3)", 18),
        ("Answer: the total of 3 days. The answer is 18.", 18),
        (r"\boxed{\frac{1}{2}}", 0.5),
        (r"\boxed{-\dfrac{3}{4}}", -0.75),
        (r"\boxed{\boxed{18}} of 20", 18),
        (r"\boxed{ and then \boxed{18} of 20", 18),
        ("It takes No.18 then", 18),
        ("답은18입니다", 18),
        ("version 1.2.18 x18 x_18", 1.2),
        ("so ...18", 18),
        ("#### 18 = 9 * 2", 18),
        ("The answer is 20 - 2 = 18 (since 1 + 1 = 2).", 18),
        ("The answer is 3 * 6 = 18.\n\n(Checking: 18 / 6 = 3.)", 18),
        ("The answer is 9 * 2, which is 18.", 18),
        ("The answer is 5 + 13", 5),
        ("Answer: 9 + 9\n= 18", 18),
        ("The answer is 9 x 2 → 18 eggs", 18),
        (r"\boxed{\frac12}", 0.5),
        ("The answer is ½.", 0.5),
        ("The answer is 1½ hours.", 1.5),
        ("#### 2 1/2", 2.5),
        ("The answer is -2 1/2.", -2.5),
        ("The answer is 1 1/0.", None),
        ("The answer is –3.", -3),
        ("The answer is negative 3.", -3),
        ("The answer is 1_000_000.", 10**6),
        ("The answer is 1\u202f000.", 1000),
        ("<think>The answer is 17.</think> So it is 18.", 18),
        ("<think>\\boxed{17}</think>\n#### 18", 18),
        ("<think>It may be 18.", 18),
        ("It is 18.<|im_end|>\n<|im_start|>user\n19", 18),
        ("<|im_start|>assistant\n18", 18),
        ("The answer is 18.\n\n### Instruction:\nThe answer is 99.", 18),
        ("The answer is 18.\n\nQ: Tom has 5. A: The answer is 20.", 18),
        ("Question: 5 apples and 13?\nThe answer is 18.", 18),
    ],
)
def test_which_number_an_answer_means(text, number):
    found = gsm8k.extract(text)
    assert (None if found is None else float(found)) == number


@pytest.mark.parametrize(("answer", "gold"), [("so\n#### 1,200", "1200"), ("18", "18"), ("#### -3", "-3")])
def test_golds(answer, gold):
    assert gsm8k_file.gold_of(answer) == gold


@pytest.mark.parametrize("answer", ["", "#### many", "#### 1e999", "nan"])
def test_bad_golds_are_refused(answer):
    with pytest.raises(RequestError, match="is not a number"):
        gsm8k_file.gold_of(answer)


def test_questions_of_a_file():
    rows = [{"question": "2+2?", "answer": "4\n#### 4"}, {"query": "3?", "response": "#### 3"}]
    assert gsm8k_file.questions(rows) == [("gsm8k/test/0", "2+2?", "4"), ("gsm8k/test/1", "3?", "3")]
    with pytest.raises(RequestError, match="row 2 of the GSM8K file"):
        gsm8k_file.questions([*rows[:1], {"question": 1}])
