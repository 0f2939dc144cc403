"""HumanEval: answers in every style that models use, the estimator, and recorded verdicts."""

import ast
import gzip
import json
import textwrap
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import pytest
from common import ROOT
from hypothesis import given
from hypothesis import strategies as st

from sft_sweeps.benchmarks import humaneval
from sft_sweeps.benchmarks.humaneval import pass_at_k, read_problems
from sft_sweeps.benchmarks.programs import compiles, extract
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import run
from sft_sweeps.sandbox.servers import Servers
from sft_sweeps.sandbox.task import Task

SHARED = ROOT.parent / "shared" / "data"
ROWS = [json.loads(line) for line in humaneval.packaged().decode().splitlines()]
PROBLEMS = {problem.id: problem for problem in read_problems(ROWS)}
SOLUTIONS = {row["task_id"]: row["canonical_solution"] for row in ROWS}
FEW = [f"HumanEval/{number}" for number in range(0, 164, 4)]  # 41, as in the measured table
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="HUMANEVAL ORACLES NOT TESTED: no shared/data beside the project"
)


def passes(task_and_program, isolation=run.DEFAULT, servers=None):
    task_id, program = task_and_program
    problem = PROBLEMS[task_id]
    task = Task(program, problem.check, problem.entry_point, problem.preamble)
    return run.execute(task, timeout=10, isolation=isolation, servers=servers).passed


def count(pairs, isolation=run.DEFAULT):
    with Servers(many=True) as servers, ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda pair: passes(pair, isolation, servers), pairs))


def body(task_id):
    return SOLUTIONS[task_id]


def full(task_id):
    return PROBLEMS[task_id].prompt + SOLUTIONS[task_id]


def fence(text, language="python"):
    return f"Here is the function:\n\n```{language}\n{text}\n```\nIt works because of reasons."


def signature(task_id):
    problem = PROBLEMS[task_id]
    return problem.prompt[len(problem.preamble) :]


STYLES = {
    "body continuation": body,
    "body, first indent lost": lambda t: body(t).strip(),
    "fenced full function": lambda t: fence(full(t)),
    "fenced without a language": lambda t: fence(full(t), ""),
    "fence never closed": lambda t: f"Sure!\n```python\n{full(t)}",
    "second fence with tests": lambda t: fence(full(t)) + "\n\nTests:\n```python\nassert False\n```",
    "fence with body only": lambda t: fence(body(t)),
    "fence, body dedented": lambda t: fence(textwrap.dedent(body(t))),
    "full function after prose": lambda t: f"The function below solves it.\n\n{full(t)}\n\nHope this helps!",
    "signature and body only": lambda t: signature(t) + body(t),
    "main guard": lambda t: full(t) + '\n\nif __name__ == "__main__":\n    input()\n',
    "run-on turn": lambda t: body(t) + "\n\nUSER: Thanks! ASSISTANT: You're welcome!",
    "fence indented in a list": lambda t: "1. Write it:\n\n" + textwrap.indent(f"```python\n{full(t)}\n```", "   "),
}


def test_six_names_occur_twice_and_tasks_are_known_by_id():
    assert len(PROBLEMS) == 164
    assert len({problem.entry_point for problem in PROBLEMS.values()}) == 158


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_understood(style):
    """41 canonical solutions in a style: all pass."""
    given_ = [(task_id, extract(STYLES[style](task_id), PROBLEMS[task_id])) for task_id in FEW]
    found = count(given_, Isolation(mode="kernel"))
    assert sum(found) == len(FEW) == 41, [task_id for task_id, right in zip(FEW, found, strict=True) if not right]


@pytest.mark.parametrize(
    "answer",
    ["", "I cannot.", "```python\n```", "def", "x" * 10**6, "```" * 10**5, "(" * 10**5, "\0\r\n", "def f(:\n" * 10**4],
)  # fmt: skip
def test_no_answer_breaks_the_extractor(answer):
    program = extract(answer, PROBLEMS["HumanEval/0"])
    assert compiles(program)
    assert not passes(("HumanEval/0", program))


TRAILERS = [
    "\nThis returns the value. It's simple: one line.",
    "Note: join is fast.",
    "Note: fast",
    "Output:\n5",
    "Explanation",
    "<|endoftext|>",
    "<|im_end|>\n<|im_start|>user\nMore, please: ```python\nx = 1\n```",
    "</s>",
    "### Instruction:\nWrite more.",
    "# Test\nprint(1)",
    "\nclass Solution:\n    def solve(self):\n        pass",
    "\ndef other(x):\n    return x",
    "x = input()",
    "if __name__ == '__main__':\n    input()",
    "```\nIt works.",
    "```\nFor example:\n```python\nassert False\n```",
    "<think>\nWas that right?\n```python\ndef f(): pass\n```",
    "USER: and now?",
    "  Note: indented a little",
    "- a list\n    - of points",
    ">>> f(1)\n1",
]
SHAPES = {
    "body": body,
    "body, first indent lost": lambda t: body(t).strip(),
    "body, dedented": lambda t: textwrap.dedent(body(t)),
    "full function": full,
}


def tree(program):
    return ast.dump(ast.parse(program))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_what_follows_the_body_changes_nothing(shape, trailer):
    wrong = []
    for task_id, problem in PROBLEMS.items():
        last = body(task_id).rstrip().split("\n")[-1]
        if "body, " in shape and not last.startswith("    return"):
            continue  # without its indentation, a statement behind a body that ends in a loop may be its own
        text = SHAPES[shape](task_id).rstrip()
        alone, followed = extract(text, problem), extract(f"{text}\n{trailer}", problem)
        wrong += [task_id] if tree(alone) != tree(followed) else []
    assert wrong == []


@pytest.mark.parametrize("end", ["", *TRAILERS[:4]])
@pytest.mark.parametrize("change", ["crlf", "tabs", "thought before", "thought opened by the prompt"])
def test_line_ends_tabs_and_thoughts_change_nothing(change, end):
    draft = "Maybe:\n```python\ndef f(n):\n    return [n]\n```\nNo.\n</think>\n"
    changes = {
        "crlf": lambda text: text.replace("\n", "\r\n"),
        "tabs": lambda text: "\n".join(
            "\t" * ((len(line) - len(line.lstrip())) // 4) + line.lstrip() for line in text.split("\n")
        ),
        "thought before": lambda text: f"<think>\n{draft}{text}",
        "thought opened by the prompt": lambda text: draft + text,
    }
    wrong = []
    for task_id in FEW:
        if task_id == "HumanEval/80" and change == "tabs":
            continue  # indented by two spaces
        text = body(task_id).rstrip() + "\n" + end
        alone, changed = (extract(given_, PROBLEMS[task_id]) for given_ in (text, changes[change](text)))
        wrong += [task_id] if tree(alone) != tree(changed) else []
    assert wrong == []


def test_bodies_with_trailers_pass_behind_the_sandbox():
    tasks = FEW[::5]
    pairs = [
        (task, extract(body(task).rstrip() + "\n" + trailer, PROBLEMS[task]))
        for task, trailer in zip(tasks, TRAILERS, strict=False)
    ]
    assert all(count(pairs, Isolation(mode="kernel")))


ADD = PROBLEMS["HumanEval/53"]  # add(x, y)


@pytest.mark.parametrize(
    "answer",
    [
        "class Solution:\n    def add(self, x, y):\n        return x + y\n",
        "```python\nclass Solution:\n    @staticmethod\n    def add(x, y):\n        return x + y\n```",
        "First:\n```python\ndef plus(a, b):\n    return a + b\n```\n"
        "Then:\n```python\ndef add(x, y):\n    return plus(x, y)\n```",
        "```python\ndef add(x, y):\n    return plus(x, y)\n```\n```python\ndef plus(a, b):\n    return a + b\n```",
        "    return plus(x, y)\n\ndef plus(a, b):\n    return a + b\n\nThat is all.",
        "```python\ndef add(x, y):\n    return x + y\n\nassert add(1, 1) == 3\nz = input()\nprint(z)\n```",
        "```python\ndef add(x, y):\n    return x + y + zero\nzero = 0\n```",
        "from this it follows:\ndef add(x, y):\n    return x + y\nNote: done",
        "    text = \"\"\"\nleft of the body\n\"\"\"\n    return x + y\nNote: a string",
        "    total = sum([\nx,\ny])\n    return total\nOutput: 5",
        "    z = x\n# a comment\n    return z + y\n# Test",
        "\ufeff\u00a0   return x + y",
        "<|assistant|>\n    return x + y<|end|> more",
        "\treturn x + y\n\nThis adds.",
        "```python\nclass Solution:\n    def add(self, x, y):\n        return x + y\n\n"
        "s = Solution()\nprint(s.add())\n```",
        "```python\nLEAST = 0\n```\n```python\nfrom operator import add as plus\n```\n"
        "```python\ndef add(x, y):\n    return plus(x, y) + LEAST\n```",
        "```python\ndef add(x, y):\n    pass\n```\nNow complete:\n```python\ndef add(x, y):\n    return x + y\n```",
        "from operator import add as plus\n\n    return plus(x, y)\n",
        ">>> def add(x, y):\n...     return x + y\n...\n>>> add(1, 2)\n3\n",
        "return x + y\n    That is the sum of both.",
        "z = x\n  return z + y",
        "     z = x\n    return z + y",
        "    return x + y<fim_middle>x",
        "```python def add(x, y):\n    return x + y\n```",
        "```python\nimport sys\nn = int(input())\ndef add(x, y):\n    return x + y\n```",
        "    return x + y\\\n \nThis is the sum.",
        f"    if x: return {' + '.join(['0'] * 900)} + x + y\n    return x + y\n",
        f"    if x == 0.5: return 1\n{f'    elif x == 1.5: return 1{chr(10)}' * 900}    else: return x + y",
    ],
)  # fmt: skip
def test_what_an_answer_means(answer):
    assert passes(("HumanEval/53", extract(answer, ADD)), Isolation(mode="kernel"))


WRAPPINGS = {
    "tilde fence": "So:\n~~~python\n{code}\n~~~\nDone.",
    "longer fence": "````\n{code}\n````\n",
    "fence with attributes": '```python title="a.py"\n{code}\n```',
    "closed on the last line": "```python\n{code}```\nDone.",
    "tags of a model": "[PYTHON]\n{code}\n[/PYTHON]",
    "other thoughts": "<Thought>\n```python\ndef f(): pass\n```\n</Thought>\n```\n{code}\n```",
    "thoughts in brackets": "[THINK]def f(): pass[/THINK]\n```\n{code}\n```",
    "shell before": "```bash\npip install this\n```\n```python\n{code}\n```",
    "its output after": "```python\n{code}\n```\nOutput:\n```\n[1, 2]\n```",
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_stands_around_the_code_changes_nothing(wrapping):
    found = [
        (
            extract(f"```python\n{full(t)}\n```", PROBLEMS[t]),
            extract(WRAPPINGS[wrapping].format(code=full(t).rstrip()), PROBLEMS[t]),
        )
        for t in FEW
    ]
    assert [t for t, (plain, wrapped) in zip(FEW, found, strict=True) if tree(plain) != tree(wrapped)] == []


def test_a_quoted_fence_is_one():
    for task_id in FEW:
        quoted = textwrap.indent(f"```python\n{full(task_id)}\n```", "> ", lambda _: True)
        assert tree(extract(quoted, PROBLEMS[task_id])) == tree(extract(fence(full(task_id)), PROBLEMS[task_id]))


@pytest.mark.parametrize("answer", ["<think>\n```python\ndef add(x, y):\n    return x + y\n```", "<think>x</think>"])
def test_a_draft_is_no_answer(answer):
    assert not passes(("HumanEval/53", extract(answer, ADD)), Isolation(mode="kernel"))


@given(st.text(max_size=300))
def test_whatever_is_extracted_compiles(text):
    assert compiles(extract(text, PROBLEMS["HumanEval/2"]))


def test_a_helper_of_the_prompt_stays():
    """HumanEval/38 asks for decode_cyclic, and its tests call the prompt's encode_cyclic."""
    answer = fence(signature("HumanEval/38") + body("HumanEval/38"))
    assert passes(("HumanEval/38", extract(answer, PROBLEMS["HumanEval/38"])))


@pytest.mark.parametrize("strict", [False, True])
def test_all_canonical_solutions_pass_behind_every_layer(strict):
    pairs = [(task_id, full(task_id)) for task_id in PROBLEMS]
    found = count(pairs, Isolation(strict=strict))
    assert [task_id for (task_id, _), right in zip(pairs, found, strict=True) if not right] == []


def test_user_turns_keep_the_prompt_as_it_is():
    problem = PROBLEMS["HumanEval/0"]
    assert humaneval.user_turn(problem, "query") == (problem.prompt, "")
    text, opening = humaneval.user_turn(problem, "prefill")
    assert text.endswith(problem.prompt)
    assert opening == f"```python\n{problem.prompt}"
    assert humaneval.user_turn(problem, "instruct") == (text, "")


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_draws_with_a_pass(values):
    n, correct, k = values
    draws = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, draws)) / len(draws))


@pytest.mark.parametrize(("n", "correct", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 6), (5, 2, 0)])
def test_no_estimate_from_too_few_samples(n, correct, k):
    with pytest.raises(ValueError, match="has no estimate"):
        pass_at_k(n, correct, k)


@pytest.fixture(scope="module")
def recorded():
    return json.loads((SHARED / "oracles" / "humaneval_verdicts.json").read_text())


@needs_shared
def test_pass_at_k_of_recorded_counts(recorded):
    rows = recorded["codegen16b_20samples"]
    assert len(rows) == 20
    for row in rows:
        assert pass_at_k(row["n"], row["correct"], 1) == pytest.approx(row["pass_at_1"])
        assert pass_at_k(row["n"], row["correct"], 10) == pytest.approx(row["pass_at_10"])
    for k, mean in ((1, 0.225), (10, 0.5253759474349842), (100, 0.7682926829268293)):
        found = [pass_at_k(row["n"], row["correct"], k) for row in recorded["codegen16b_all"]]
        assert sum(found) / len(found) == pytest.approx(mean)


@needs_shared
def test_wizardcoders_answers_get_the_recorded_verdicts(recorded):
    with gzip.open(SHARED / "oracles" / "humaneval_wizardcoder15b.jsonl.gz", "rt", encoding="utf-8") as file:
        answers = {row["task_id"]: row["completion"] for row in map(json.loads, file)}
    tasks = list(answers)
    found = count([(task, PROBLEMS[task].prompt + answers[task]) for task in tasks], Isolation(mode="kernel"))
    verdicts = dict(zip(tasks, found, strict=True))
    assert sum(found) == 98
    assert len(recorded["wizardcoder"]) == 82
    assert [r["task_id"] for r in recorded["wizardcoder"] if verdicts[r["task_id"]] != r["passed"]] == []


def codegen():
    with gzip.open(SHARED / "oracles" / "humaneval_codegen16b_100samples.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return {task: row["samples"] for task, row in zip(sorted(PROBLEMS), rows, strict=True)}


@needs_shared
def test_codegens_samples_get_the_recorded_verdicts(recorded):
    """A share of the 82 x 100 recorded verdicts; the slow test takes them all."""
    check(recorded, 4)


@needs_shared
@pytest.mark.slow
@pytest.mark.long  # 8,200 programs; the test above runs 4 of every 100
def test_all_of_codegens_samples_get_the_recorded_verdicts(recorded):
    check(recorded, 100)


def check(recorded, samples):
    answers, wrong, seen = codegen(), [], 0
    for row in recorded["codegen16b_all"]:
        task = row["task_id"]
        pairs = [(task, PROBLEMS[task].prompt + text) for text in answers[task][:samples]]
        for place, right in enumerate(count(pairs, Isolation(mode="kernel"))):
            seen += 1
            wrong += [(task, place)] if right != (row["verdicts"][place] == "P") else []
    assert seen == 82 * samples
    assert wrong == []


@needs_shared
def test_humaneval_plus_needs_no_numpy():
    path = SHARED / "benchmarks" / "humanevalplus_originfmt.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        plus = {problem.id: problem for problem in read_problems([json.loads(line) for line in file])}
    assert len(plus) == 164
    for task in FEW[:6]:  # (HumanEval/32 is broken in this file: `*candidate(*inp)` of a float)
        problem = plus[task]
        given_ = Task(problem.prompt + SOLUTIONS[task], problem.check)
        assert run.execute(given_, timeout=20).passed, task
        assert not run.execute(Task(problem.prompt + "    return None\n", problem.check), timeout=20).passed
