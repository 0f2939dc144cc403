"""The graded abilities: stable, disjoint from what is asked, true, with a long tail, shared between abilities."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import pytest
import yaml
from observed import observation, setting
from tokenizers import Tokenizer

from bench import mini_jargon
from sft_sweeps.analysis.observations import Part
from sft_sweeps.benchmarks import mini as benchmark
from sft_sweeps.benchmarks import plain_functions
from sft_sweeps.data import graded, graded_words, mini
from sft_sweeps.data.drawing import Stream
from sft_sweeps.execution import Isolation
from sft_sweeps.models import train_tokenizer

SOURCES = tuple(graded.DRAW)
# Raise identity.VERSIONS["graded"] when one of these must change.
GOLDEN = {
    "graded_math": "b8a85a96def6",
    "graded_code": "c048f04597a3",
    "graded_general": "6eebf4b3d1a8",
    "graded_general_clean": "9cd563c85964",
    "document": "5cd186be254d",
}


def rounds(name, count=300):
    return [example.rounds for example in mini.generate(name, count, 0)]


def fingerprint(value):
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]


def test_what_is_drawn_never_changes():
    found = {name: fingerprint(rounds(name, 60)) for name in SOURCES}
    items = [[(i.turns, i.gold) for i in benchmark.items(name, 20, 7)] for name in graded.SOURCES]
    found |= {"document": fingerprint([items, [graded.document(Stream(f"d/{n}")) for n in range(100)]])}
    assert found == GOLDEN


def test_shipped_tokenizer_is_what_train_makes():
    made = train_tokenizer.train(mini.texts(graded.SOURCES), graded.VOCABULARY)
    assert json.loads(made.to_str()) == json.loads(graded.TOKENIZER.read_text(encoding="utf-8"))


def test_nothing_that_is_asked_is_trained_on():
    trained = {asked for name in SOURCES for ((asked, _), *_) in rounds(name, 3000)}
    for name in graded.SOURCES:
        tested = {item.turns[0] for item in benchmark.items(name, 300, 0)}
        assert trained.isdisjoint(tested)


def test_worked_steps_are_true():
    for ((_, answer),) in rounds("graded_math"):
        *steps, last = answer.split("\n")
        value = None
        for step in steps:
            left, right = step.split(" = ")
            assert eval(left) == int(right)
            assert value is None or left.startswith(value)
            value = right
        assert last == f"#### {value}"


def test_programs_do_with_words_what_chats_do():
    """One meaning of each operation: Python's, run here, and that of the chats."""
    words = ["tree", "pen", "lamp", "apple"]
    for name, form in graded_words.LISTS.items():
        assert eval(form.format("words"), {"words": words}) == graded.Step(name, "").on_words(words)
    for name, form in graded_words.NUMBERS.items():
        assert eval(form.format(10, n=3)) == graded.Step(name, "", 3).on_number(10)


def test_a_common_verb_means_one_operation_and_jargon_another_in_each_ability():
    verbs = [verb for text in graded_words.VERBS.values() for verb in text.split()]
    jargon = graded_words.JARGON.split()
    assert len({*verbs, *jargon}) == len(verbs) + len(jargon)
    for number in range(len(jargon)):
        asked = graded_words.meanings(number)
        assert len(set(asked.values())) == 3
        assert asked["math"] in graded_words.NUMBERS
        assert asked["general"] in graded_words.LISTS
        assert (asked["code"] in graded_words.NUMBERS) or (asked["code"] in graded_words.LISTS)


def asked_for():
    """(ability, word) -> the operations that single requests with it are answered by, in the words of the answers."""
    found = defaultdict(list)
    marks = {"+": "plus", "-": "minus", "*": "double", "//": "halve"}
    bodies = {graded_words.NUMBERS[name].format("x", n=n): name for name in graded_words.NUMBERS for n in range(10)}
    bodies |= {form.format("words"): name for name, form in graded_words.LISTS.items()}
    for name in ("graded_math", "graded_code", "graded_general_clean"):
        for (asked, answer), *_ in rounds(name, 1500):
            word, _, rest = asked.partition(":")
            if "," in word:
                continue
            if name == "graded_math":
                fitting = {marks[answer.split()[1]]}
            elif name == "graded_code":
                fitting = {bodies[answer.split("return ")[1]]}
            else:
                after = {one: graded.Step(one, "").on_words(rest.split()) for one in graded_words.LISTS}
                fitting = {one for one, words in after.items() if " ".join(words) == answer}
            found[name.split("_")[1], word.split()[0]].append(fitting)
    return found


def test_examples_use_words_as_they_are_meant():
    found, numbers = asked_for(), {word: number for number, word in enumerate(graded_words.JARGON.split())}
    common = {verb: name for name, text in graded_words.VERBS.items() for verb in text.split()}
    assert len({word for _, word in found} & numbers.keys()) > len(numbers) / 2
    for (ability, word), fitting in found.items():
        meant = common.get(word) or graded_words.meanings(numbers[word])[ability]
        assert all(meant in each for each in fitting), (ability, word)


def verbs_of(examples, known):
    return Counter(
        word
        for turns in examples
        for asked, _ in turns
        for word in asked.replace(",", " ").replace(":", " ").split()
        if word in known
    )


def test_verbs_have_a_long_tail_that_abilities_share():
    common = {verb for text in graded_words.VERBS.values() for verb in text.split()}
    counts = {name: verbs_of(rounds(name, 2000), common) for name in SOURCES}
    for name, found in counts.items():
        assert max(found.values()) > 8 * min(found.values()), name
    shown_few = set(verbs_of(rounds("graded_math", 12), common))
    assert 5 < len(shown_few) < len(counts["graded_math"]) / 2, "a small fraction leaves most verbs unseen"
    assert set(counts["graded_math"]) < set(counts["graded_code"])
    assert set(counts["graded_general_clean"]) < set(counts["graded_code"])


def test_base_models_have_read_frequent_verbs_and_no_jargon():
    read = Counter(word for n in range(3000) for word in re.findall("[a-z]+", graded.document(Stream(f"d/{n}"))))
    assert not read.keys() & set(graded_words.JARGON.split())
    for text in graded_words.VERBS.values():
        verbs = text.split()
        assert all(read[verb] for verb in verbs[: graded_words.KNOWN])
        assert not any(read[verb] for verb in verbs[graded_words.KNOWN :])


def test_conflict_is_split_by_words():
    """Items with jargon and without, alone and mixed; ratios, other strategies and other abilities are left out."""
    jargon = {item.id for item in benchmark.items("graded_math", 40, 0) if mini_jargon.has_jargon(item)}
    assert 0 < len(jargon) < 40
    parts = [Part(name, f"graded_{name}", Fraction(1, 4), 600) for name in ("math", "code", "general")]
    shown = {item.id: float(item.id in jargon) for item in benchmark.items("graded_math", 40, 0)}
    settings = [setting(parts=(parts[0],)), setting(parts=tuple(parts)), setting("sequential", parts=tuple(parts))]
    settings += [setting(parts=(parts[1],)), setting(parts=(replace(parts[0], fraction=Fraction(1)), *parts[1:]))]
    runs = [observation(at, [1.0], final=True, items=shown) for at in settings]
    observed = [replace(run, benchmark="graded_math") for run in runs]
    (found,) = mini_jargon.by_words(observed, jargon).values()
    with_jargon, without = [1.0] * len(jargon), [0.0] * (40 - len(jargon))
    assert found == {(mixed, has): with_jargon if has else without for mixed in (True, False) for has in (True, False)}


def is_chat(turns):
    """Whether the first request ends with words, neither with a story's question nor with a function."""
    asked = turns[0][0]
    return asked.split(": ")[-1].split()[0] in graded.WORDS


def test_clean_is_general_without_math_and_code():
    general, clean = rounds("graded_general", 3000), rounds("graded_general_clean", 2000)
    chats = [one for one in general if is_chat(one)]
    assert all(map(is_chat, clean))
    declared = yaml.safe_load((mini.TOKENIZER.parents[2] / "conf/source/graded_general_clean.yaml").read_text())
    assert declared["rows"] == len(chats)
    assert all(is_chat([(item.turns[0], "")]) for item in benchmark.items("graded_general", 100, 0))


def test_answers_fit_into_the_tokens_that_are_asked_for():
    tokenizer = Tokenizer.from_file(str(graded.TOKENIZER))
    asked = yaml.safe_load((mini.TOKENIZER.parents[2] / "conf/evaluate/graded.yaml").read_text())
    answers = [answer for name in SOURCES for turns in rounds(name, 1500) for _, answer in turns]
    assert max(len(tokenizer.encode(f" {answer}").ids) for answer in answers) < asked["max_new_tokens"]


WRONG = ("x", "x + 1", "words", "x // 0", "words + 1", "-x", "[w.upper() for w in x]", "sorted(x)", "words[0:2:1]")


def test_plain_functions_are_judged_as_the_sandbox_does():
    """Right answers, those to other items, and wrong ones of many kinds."""
    items = benchmark.items("graded_code", 10, 1)
    judged = set()
    for item, other in pairwise(items):
        body = WRONG[items.index(item) % len(WRONG)]
        for answer in (other.gold["reference"], f"def solve({item.gold['parameter']}):\n    return {body}\n"):
            gold = item.gold
            why = plain_functions.differs(answer, gold["reference"], mini.INPUTS[gold["parameter"]])
            if why is not None:
                judged.add(why)
                assert (not why) == in_sandbox(item, answer), (item, answer, why)
    assert "AssertionError" in judged
    assert "TypeError" in judged


def in_sandbox(item, answer):
    """The verdict where nothing is plain: `pass` makes it a function of two statements."""
    longer = answer.replace("\n    return", "\n    pass\n    return")
    return benchmark.judge("graded_code", item, [longer], Isolation()).correct


@pytest.mark.parametrize(
    "definition",
    [
        "def solve(x):\n    return __import__('os')",
        "def solve(x):\n    return x ** 99",
        "def solve(x):\n    return open",
        "def solve(x):\n    return [w.lower() for w in x]",
        "def solve(x):\n    return [w.upper() for w in x if w]",
        "def solve(x):\n    return (lambda: 1)()",
        "def solve(x):\n    return x * 1000",
        "def solve(x=[]):\n    return x",
        "def solve(*x):\n    return x",
        "@print\ndef solve(x):\n    return x",
        "def solve(x):\n    print(1)\n    return x",
        "def solve(x):\n    return x + 'a'",
        "def solve(x):\n    return " + "x * 99 * " * 25 + "x",
        "def solve(words):\n    return words * 99 * 99 * 99",
        "solve = 1",
        "def solve(",
    ],
)
def test_what_is_not_plain_is_left_to_the_sandbox(definition):
    assert plain_functions.differs(definition, "def solve(x):\n    return x", (([1, 2],),)) is None
