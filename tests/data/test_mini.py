"""The miniature abilities and their benchmarks: stable, disjoint, and judged as they should be."""

import hashlib
import json
import subprocess
import sys

import pytest

from sft_sweeps.benchmarks import mini as benchmark
from sft_sweeps.data import mini

COUNTS = {"mini_math": 2800, "mini_code": 800, "mini_general": 2300}
# Raise identity.VERSIONS["mini"] when one of these must change.
GOLDEN = {"mini_math": "aa4b8b9d39e7", "mini_code": "e6c39d4c5dbd", "mini_general": "48239fdcac69"}


def fingerprint(name):
    examples = [(example.id, example.rounds) for example in mini.generate(name, 50, 7)]
    items = [{"id": item.id, "turns": item.turns, "gold": item.gold} for item in benchmark.items(name, 20, 7)]
    return hashlib.sha256(json.dumps([examples, items]).encode()).hexdigest()[:12]


@pytest.mark.parametrize("name", mini.SOURCES)
def test_examples_and_items_never_change(name):
    assert fingerprint(name) == GOLDEN[name]


def test_another_process_with_other_hashing_generates_the_same():
    program = "from sft_sweeps.data.mini import *; print([generate(name, 20, 3) for name in SOURCES])"
    command = [sys.executable, "-c", program]
    other = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}).stdout
    assert other.strip() == str([mini.generate(name, 20, 3) for name in mini.SOURCES])


@pytest.mark.parametrize("name", mini.SOURCES)
def test_fewer_examples_are_a_prefix(name):
    assert mini.generate(name, 40, 1)[:15] == mini.generate(name, 15, 1)
    assert benchmark.items(name, 40, 1)[:15] == benchmark.items(name, 15, 1)
    assert mini.generate(name, 40, 1) != mini.generate(name, 40, 2)


@pytest.mark.parametrize("name", mini.SOURCES)
def test_training_and_test_share_no_prompt(name):
    trained = {example.rounds[0][0] for example in mini.generate(name, COUNTS[name], 0)}
    tested = [item.turns[0] for item in benchmark.items(name, 120, 0)]
    assert trained.isdisjoint(tested)
    assert trained.isdisjoint(item.turns[0] for item in benchmark.items(name, 60, 5))
    assert len(set(tested)) >= 30


@pytest.mark.parametrize("name", mini.SOURCES)
def test_reference_answers_are_right_and_shuffled_ones_are_not(name):
    items = benchmark.items(name, 12, 3)
    answers = [reference(name, item) for item in items]
    for item, answer in zip(items, answers, strict=True):
        assert benchmark.judge(name, item, [f" {text}" for text in answer]).correct
        assert not benchmark.judge(name, item, [""] * len(answer)).correct


def reference(name, item):
    """The answers a source would hold to the item's turns."""
    if name == "mini_math":
        return [f"so\n#### {item.gold['answer']}"]
    return item.gold["answers"] if name == "mini_general" else [item.gold["reference"]]


def test_ids_are_unique_and_items_differ():
    for name in mini.SOURCES:
        items = benchmark.items(name, 120, 0)
        assert len({item.id for item in items}) == len({item.turns for item in items}) == 120
        assert [example.id for example in mini.generate(name, 3, 0)] == [f"{name}/{number}" for number in range(3)]


def test_general_has_one_to_three_rounds_and_others_one():
    assert {len(example.rounds) for example in mini.generate("mini_general", 200, 0)} == {1, 2, 3}
    assert {len(example.rounds) for example in mini.generate("mini_code", 50, 0)} == {1}


def test_worked_steps_of_math_are_true():
    for example in mini.generate("mini_math", 300, 0):
        *steps, last = example.rounds[0][1].split("\n")
        results = []
        for step in steps:
            left, right = step.split(" = ")
            assert eval(left) == int(right)
            results.append(right)
        assert last == f"#### {results[-1]}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (" 3 + 4 = 7\n#### 7", "right"),
        ("####7", "right"),
        ("#### 7 and #### 8", "right"),
        ("#### 8", "wrong number"),
        ("#### 0,007", "right"),
        ("#### -7", "wrong number"),
        ("#### seven", "no number after ####"),
        ("7", "no ####"),
        ("", "no ####"),
    ],
)
def test_math_verdicts(answer, reason):
    verdict = benchmark.judge("mini_math", benchmark.Item("i", ("q",), {"answer": 7}), [answer])
    assert (verdict.correct, verdict.reason) == (reason == "right", reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (" def solve(x):\n    return x + 3", "passed"),
        ("Here it is:\ndef solve(x):\n\n    y = x\n    return y + 3\n\nThat adds 3.", "passed"),
        ("def solve(x):\n    return x + 4", "AssertionError"),
        ("def solve(x):\n    return float(x + 3)", "AssertionError"),
        ("def solve(x):\n    return y", "NameError"),
        ("def solve(x):\n    import os; os._exit(0)", "ended before the checks did"),
        ("def solve(x:\n    return x", "does not compile"),
        ("def other(x):\n    return x + 3", "no definition"),
        ("x + 3", "no definition"),
    ],
)
def test_code_verdicts(answer, reason):
    gold = {"function": "solve", "reference": "def solve(x):\n    return x + 3", "parameter": "x"}
    verdict = benchmark.judge("mini_code", benchmark.Item("i", ("q",), gold), [answer])
    assert (verdict.correct, verdict.reason) == (reason == "passed", reason)


def test_hidden_inputs_tell_all_functions_apart():
    """No two bodies of one parameter agree on every input, so that a wrong constant cannot pass."""
    seen = {}
    for example in mini.generate("mini_code", 3000, 0):
        definition = example.rounds[0][1]
        head, _, body = definition.partition("\n")
        namespace = {}
        exec(definition, namespace)
        function = namespace[head[4 : head.index("(")]]
        parameter = head[head.index("(") + 1 : -2]
        results = repr([function(*arguments) for arguments in mini.INPUTS[parameter]])
        assert seen.setdefault((parameter, results), body) == body


def test_general_verdicts_look_at_every_turn():
    item = benchmark.Item("i", ("a", "b", "c"), {"answers": ["pen", "PEN", "PEN"]})
    assert benchmark.judge("mini_general", item, [" pen", " PEN ", " PEN"]).correct
    verdict = benchmark.judge("mini_general", item, [" pen", " pen", ""])
    assert not verdict.correct
    assert verdict.reason == "wrong turns: 2, 3"
    assert verdict.detail == {"turns": [True, False, False]}


def test_too_few_answers_and_too_many_items_are_refused():
    item = benchmark.Item("i", ("a", "b"), {"answers": ["x", "y"]})
    with pytest.raises(ValueError, match="2 turns, 1 answers"):
        benchmark.judge("mini_general", item, ["x"])
    with pytest.raises(ValueError, match="distinct test items"):
        benchmark.items("mini_code", 100_000, 0)
