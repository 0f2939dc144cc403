"""From a model's answer to the program that it means, for benchmarks that run what models write.

A model's answer may be a continuation, a fenced block, prose with a function in it, or a body that lost its first
indent. `extract` makes one program of any of them: candidates are the fenced blocks, then the whole text; one that
defines the function wins over one that is its body; and what does not compile is cut back until it does. `compile` is
the judge of that, not `ast.parse`, which accepts a `return` outside a function.
"""

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass

LIMIT = 1 << 16  # characters of an answer that are looked at
CUTS = 200  # attempts at cutting a text back until it compiles
_FENCE = re.compile(r"```[ \t]*([A-Za-z0-9_+-]*)[ \t]*\r?\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)
_STOPS = re.compile(r"\n(?:class |def |# |#\n|if |print\(|assert |@|```)|USER:|</s>")
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
    text = answer[:LIMIT].replace("\r\n", "\n").replace("\0", "")
    blocks = [fence[2] for fence in _FENCE.finditer(text)]
    if not blocks and _continues(text) and (program := _as_body(text, problem)):
        return program
    second = ""
    for candidate in [*blocks, text]:
        fenced = candidate is not text
        for program in (_as_definition(candidate, problem), _as_body(candidate, problem, fenced=fenced)):
            if program and _answers(program, problem.entry_point):
                return program
            second = second or program
    return second or _HARMLESS


def _continues(text: str) -> bool:
    """Whether the answer goes on where the prompt ends: its first line is indented."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    return first[:1] in (" ", "\t")


def _as_definition(text: str, problem: Problem) -> str:
    """The text as a program that defines the function, with the prompt's imports and helpers before it."""
    if not re.search(rf"^[ \t]*def {re.escape(problem.entry_point)}\(", text, re.MULTILINE):
        return ""
    dedented = textwrap.dedent(text)
    if compiles(program := f"{problem.preamble}\n{dedented}"):
        return program
    start = _STARTS.search(dedented) or re.search(r"^[ \t]*def ", dedented, re.MULTILINE)
    if start is None:
        return ""
    return _longest(problem.preamble + "\n", textwrap.dedent(dedented[start.start() :]))


def _as_body(text: str, problem: Problem, *, fenced: bool = False) -> str:
    """The text as the function's body after the prompt, cut where something else begins.

    Inside a fence the whole block is tried first: an `if` at the start of a line may belong to a body that lost its
    indentation.
    """
    body = text[: stop.start()] if (stop := _STOPS.search(text)) else text
    for whole in filter(str.strip, [text, body] if fenced else [body]):
        for form in (whole, _indent_first(whole), _indented(whole)):
            if compiles(program := f"{problem.prompt}{form}\n") and _answers(program, problem.entry_point):
                return program
    return _longest(problem.prompt, _indented(body)) if body.strip() else ""


def _indented(body: str) -> str:
    return textwrap.indent(textwrap.dedent(body), "    ")


def _indent_first(body: str) -> str:
    """`.strip()` took the first line's indentation; the others have theirs."""
    return "    " + body.lstrip()


def _longest(before: str, text: str) -> str:
    """`before` with as many of the text's lines as compile; empty when none do."""
    lines = text.split("\n")
    offset = before.count("\n")
    count = len(lines)
    for _ in range(CUTS):
        if count == 0:
            return ""
        program = before + "\n".join(lines[:count]) + "\n"
        error_line = _error_line(program)
        if error_line is None:
            return program
        count = max(min(count - 1, error_line - offset - 1), 0)
    return ""


def compiles(program: str) -> bool:
    """Whether Python accepts it."""
    return _error_line(program) is None


def _error_line(program: str) -> int | None:
    """None for a program that compiles, else the line of its first error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(program, "<answer>", "exec")
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, MemoryError, RecursionError, OverflowError):
        return 1
    return None


def _answers(program: str, entry_point: str) -> bool:
    """Whether it defines the function with more than a docstring."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    bodies = [node.body for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry_point]
    return bool(bodies) and any(not _is_text(statement) for statement in bodies[-1])


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


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
