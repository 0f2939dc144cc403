"""From a model's answer to the program that it means, for benchmarks that run what models write.

A model's answer may be a continuation, a fenced block, prose with a function in it, or a body that lost its first
indent. `extract` makes one program of any of them: candidates are the fenced blocks, then the whole text; one that
defines the function wins over one that is its body; a body ends at the first line that cannot belong to it; and what
does not compile is cut back until it does. `compile` is the judge of that, not `ast.parse`, which accepts a `return`
outside a function.
"""

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from sft_sweeps.benchmarks import syntax
from sft_sweeps.benchmarks.answer_text import after_imports, blocks, cleaned, continues, cuts, untranscribed
from sft_sweeps.benchmarks.syntax import answers, compiles

LIMIT = 1 << 16  # characters of an answer that are looked at
CUTS = 200  # attempts at cutting a text back until it compiles
BODY_CUTS = 20  # lines left of a body at which it may end, tried from the first: one in a string or bracket is none
STARTS = 20  # lines that begin like code, tried as the program's first: prose may begin so, too
_STOPS = re.compile(r"\n(?:class |def |# |#\n|if __name__|print\(|assert |@|```)")
_STARTS = re.compile(r"^(?:from|import|def|class|@|async )", re.MULTILINE)
_HARMLESS = "def unanswered_():\n    pass\n"


@dataclass(frozen=True, slots=True)
class Problem:
    """One task: the function's signature and docstring, its name, and `test`, which defines `check(candidate)`."""

    id: str
    prompt: str
    entry_point: str
    test: str

    @property
    def preamble(self) -> str:
        """What stands before the asked function in the prompt: imports and helpers."""
        match = re.search(rf"^def {re.escape(self.entry_point)}\(", self.prompt, re.MULTILINE)
        return self.prompt[: match.start()] if match else ""

    @property
    def check(self) -> str:
        """The program that raises unless the asked function is right."""
        return f"{_without_numpy(self.test)}\ncheck({self.entry_point})\n"


def extract(answer: str, problem: Problem) -> str:
    """The program that an answer means: it compiles, and defines the function if the answer gives any reason to."""
    text = cleaned(answer[:LIMIT])
    fenced = blocks(text)
    program = _program(untranscribed(text), fenced, problem)
    return syntax.with_helpers(program, [_longest("", block) for block in fenced or _later(text)])


def gives_function(program: str, problem: Problem) -> bool:
    """Whether an answer's program has the function, and more in it than a docstring: else nothing in it was code."""
    return answers(program, problem.entry_point)


def _program(text: str, fenced: list[str], problem: Problem) -> str:
    second = ""
    for program in _programs(text, fenced, problem):
        if program and answers(program, problem.entry_point):
            return program
        second = second or program
    return second or _HARMLESS


def _programs(text: str, fenced: list[str], problem: Problem) -> Iterator[str]:
    """What the answer may mean, the likeliest first."""
    if continues(text):
        program = _as_body(text, problem)
        # A fence that closes what the prompt opened looks like one that opens: the body before it counts if it returns.
        yield program if not fenced or syntax.returns(program, problem.entry_point) else ""
    candidates = [*fenced, text]
    yield from (_as_definition(candidate, problem) for candidate in candidates)
    bodies = [_as_body(candidate, problem, candidate in fenced) for candidate in candidates]
    yield from (body for body in bodies if syntax.returns(body, problem.entry_point))
    yield from (_as_method(candidate, problem) for candidate in candidates)
    yield from bodies


def _as_method(text: str, problem: Problem) -> str:
    """The text as a program whose class has the function as a method."""
    start = re.search(r"^class ", text, re.MULTILINE)
    if not start:
        return ""
    return syntax.with_method(_longest(problem.preamble + "\n", text[start.start() :]), problem.entry_point)


def _as_definition(text: str, problem: Problem) -> str:
    """The text as a program that defines the function, with the prompt's imports and helpers before it."""
    definition = re.search(rf"^[ \t]*+def {re.escape(problem.entry_point)}[ \t]*+\(", text, re.MULTILINE)
    if not definition:
        return ""
    program = ""
    for part in _parts(text, definition.start()):
        program = _longest(problem.preamble + "\n", part)
        if answers(program, problem.entry_point):
            return syntax.definitions_only(program, problem.entry_point)
    return program


def _parts(text: str, definition: int) -> Iterator[str]:
    """The text as it is, and from each line on that may be the program's first, the definition's at the latest."""
    yield textwrap.dedent(text)
    for start in islice(_STARTS.finditer(text, 0, definition), STARTS):
        yield text[start.start() :]
    if not re.search(r"^[ \t]*+class ", text[:definition], re.MULTILINE):  # whose method it would be
        yield textwrap.dedent(text[definition:])


def _later(text: str) -> list[str]:
    """What may be helpers behind a body."""
    return [text[start.start() :]] if (start := _STARTS.search(text)) else []


def _as_body(text: str, problem: Problem, fenced: bool = False) -> str:
    """The text as the function's body after the prompt, up to the first line that cannot belong to it."""
    if not text.strip():
        return ""
    imports, rest = after_imports(text)
    if imports:
        body = _as_body(rest, problem)
        return f"{imports}{body}" if body else ""
    if continues(text):
        ended = _ended_body(text, problem, _reindented)
        return ended or _longest(problem.prompt, _indented(next(cuts(text))))
    # Either every line lost the indentation, or `.strip()` took the first one's: what makes more of the text counts.
    ended = _ended_body(text, problem, _first_indented) or _longest(problem.prompt, f"    {text.lstrip()}")
    found = (_dedented_body(text, problem, fenced), ended if answers(ended, problem.entry_point) else "")
    return max(found, key=lambda program: program.count("\n"))


def _ended_body(text: str, problem: Problem, forms: Callable[[str], Iterator[str]]) -> str:
    for body in (*islice(cuts(text), BODY_CUTS), text):
        for form in forms(body):
            program = f"{problem.prompt}{form}\n"
            if compiles(program) and answers(program, problem.entry_point):
                return syntax.without_rest(program, problem.entry_point)
    return ""


def _dedented_body(text: str, problem: Problem, fenced: bool) -> str:
    """Inside a fence an `if` at the start of a line may belong to the body: nothing but what fails ends it."""
    stop = None if fenced else _STOPS.search(text)
    program = _longest(problem.prompt, _indented(text[: stop.start()] if stop else text))
    return syntax.without_rest(program, problem.entry_point) if program else ""


def _reindented(body: str) -> Iterator[str]:
    yield body
    yield _indented(body)
    yield _indented(body.expandtabs(4))
    yield _indented(_like_the_others(body))


def _like_the_others(body: str) -> str:
    """The first line as far in as the least indented of the others: it alone lost or won a space."""
    body = body.strip("\n")
    others = [line for line in body.split("\n")[1:] if line[:1].isspace() and line.strip()]
    return min((line[: len(line) - len(line.lstrip())] for line in others), key=len, default="    ") + body.lstrip()


def _first_indented(body: str) -> Iterator[str]:
    """`.strip()` took the first line's indentation; the others have theirs."""
    yield f"    {body.lstrip()}"
    yield _indented(_like_the_others(body))
    yield f"\t{body.lstrip()}".expandtabs(4)
    yield f"\t{body.lstrip()}".expandtabs(8)


def _indented(body: str) -> str:
    return textwrap.indent(textwrap.dedent(body), "    ")


def _longest(before: str, text: str) -> str:
    """`before` with as many of the text's lines as compile; empty when none do."""
    lines = text.split("\n")
    offset = before.count("\n")
    count = len(lines)
    for _ in range(CUTS):
        if count == 0:
            return ""
        program = before + "\n".join(lines[:count]) + "\n"
        error_line = syntax.error_line(program)
        if error_line is None:
            return program
        count = max(min(count - 1, error_line - offset - 1), 0)
    return ""


# HumanEval+ compares floats with numpy, which no sandboxed program sees.
_NUMPY = """
class np:
    class ndarray: pass
    float32 = float64 = ndarray
    @staticmethod
    def allclose(a, b, rtol=1e-5, atol=1e-8):
        if isinstance(a, (list, tuple)) or isinstance(b, (list, tuple)):
            a = list(a) if isinstance(a, (list, tuple)) else [a] * len(b)
            b = list(b) if isinstance(b, (list, tuple)) else [b] * len(a)
            return len(a) == len(b) and all(np.allclose(x, y, rtol, atol) for x, y in zip(a, b))
        return a == b or abs(a - b) <= atol + rtol * abs(b)
"""


def _without_numpy(test: str) -> str:
    return re.sub(r"^import numpy as np$", _NUMPY, test, count=1, flags=re.MULTILINE)
