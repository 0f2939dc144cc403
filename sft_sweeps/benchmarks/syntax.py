"""What Python's own parser says about a program: whether it compiles, what it defines, and what of it is not meant."""

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterable, Iterator

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def compiles(program: str) -> bool:
    """Whether Python accepts it."""
    return error_line(program) is None


def error_line(program: str) -> int | None:
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


def answers(program: str, entry_point: str) -> bool:
    """Whether it defines the function with more than a docstring or `pass`."""
    function = _function(_tree(program), entry_point)
    return function is not None and any(not _says_nothing(statement) for statement in function.body)


def returns(program: str, entry_point: str) -> bool:
    """Whether the function itself may give a value or stop: prose that happens to compile does neither."""
    function = _function(_tree(program), entry_point)
    return function is not None and any(map(_may_return, function.body))


def _may_return(statement: ast.stmt) -> bool:
    """Without recursion: a sum of a thousand terms is a thousand levels deep."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return | ast.Raise | ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, _DEFINITIONS):
            waiting += ast.iter_child_nodes(node)
    return False


def without_rest(program: str, entry_point: str) -> str:
    """The program without what follows the function's last statement that can run; whole where a `\\` needs that."""
    function = _function(_tree(program), entry_point)
    if function is None:
        return program
    last = next(filter(_leaves, function.body), function.body[-1])
    text = "\n".join(program.split("\n")[: last.end_lineno]) + "\n"
    return text if compiles(text) else program


def _leaves(node: ast.stmt) -> bool:
    """Whether nothing after the statement is ever reached."""
    while isinstance(node, ast.If):
        if not any(map(_leaves, node.body)):  # asked once: twice, of each level, would be 2^levels times
            return False
        if len(node.orelse) != 1:
            return any(map(_leaves, node.orelse))
        node = node.orelse[0]  # each `elif` is one more level
    return isinstance(node, ast.Return | ast.Raise) or (isinstance(node, ast.With) and any(map(_leaves, node.body)))


def definitions_only(program: str, entry_point: str) -> str:
    """The program up to the function, and of what follows only what is used: no prints, asserts, `input()`.

    Before it, lines that only say something (`[PYTHON]`) or that read the keyboard are left out, too.
    """
    tree = _tree(program)
    function = _function(tree, entry_point)
    if tree is None or function is None:
        return program
    lines = program.split("\n")
    end = function.end_lineno or function.lineno
    for node in tree.body[: tree.body.index(function)]:
        if _is_idle(node) and node.end_lineno:
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    later = [node for node in tree.body[tree.body.index(function) + 1 :] if _bound(node) and node.lineno > end]
    kept: list[ast.stmt] = []
    text = "\n".join(lines[:end]) + "\n"
    while True:
        used = _used(text) | {entry_point}
        more = [node for node in later if node not in kept and used & _bound(node)]
        if not more:
            return text if compiles(text) else program
        kept = sorted([*kept, *more], key=lambda node: node.lineno)
        text = (
            "\n".join([*lines[:end], *("\n".join(lines[_start(node) - 1 : node.end_lineno]) for node in kept)]) + "\n"
        )


def _is_idle(node: ast.stmt) -> bool:
    """An expression that calls nothing, or what asks somebody: no definition depends on it."""
    names = set(_names([node], ast.Load)) if not isinstance(node, _DEFINITIONS) else set()
    says = isinstance(node, ast.Expr) and not any(isinstance(inner, ast.Call) for inner in ast.walk(node))
    return says or bool(names & {"input", "exit", "quit"})


def _bound(node: ast.stmt) -> set[str]:
    """The names that a definition, an import or an assignment gives."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return set(_names([node], ast.Store)) if isinstance(node, ast.Assign | ast.AnnAssign) else set()


def _start(node: ast.stmt) -> int:
    """A definition begins with its decorators."""
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _used(program: str) -> set[str]:
    """The global names that a program's functions and classes read."""
    try:
        tables = [symtable.symtable(program, "<answer>", "exec")]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return set()
    used: set[str] = set()
    while tables:
        table = tables.pop()
        used |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced() and symbol.is_global()}
        tables += table.get_children()
    return used


def with_method(program: str, entry_point: str) -> str:
    """The program with a function that calls the method of this name; unchanged where no class has one."""
    tree = _tree(program)
    for node in tree.body if tree and _function(tree, entry_point) is None else ():
        methods = node.body if isinstance(node, ast.ClassDef) else ()
        for method in methods:
            if isinstance(method, ast.FunctionDef) and method.name == entry_point:
                bound = method.decorator_list or (method.args.args and method.args.args[0].arg in ("self", "cls"))
                owner = f"{node.name}()" if bound else node.name  # type: ignore[attr-defined]
                call = f"    return {owner}.{entry_point}(*args, **kwargs)\n"
                lines = program.split("\n")
                lines[node.end_lineno : node.end_lineno] = ["", f"def {entry_point}(*args, **kwargs):", call]
                return definitions_only("\n".join(lines), entry_point)
    return program


def with_helpers(program: str, sources: Iterable[str]) -> str:
    """The program after the definitions in other code that it names and lacks."""
    known = {name: text for source in sources for name, text in _definitions(source)}
    for _ in range(len(known)):
        undefined = _undefined(program)
        missing = [name for name in known if name in undefined]
        if not missing or not compiles(longer := f"{known[missing[0]]}\n\n\n{program}"):
            return program
        program = longer
    return program


def _definitions(source: str) -> Iterator[tuple[str, str]]:
    tree = _tree(source)
    for node in tree.body if tree else ():
        for name in _bound(node):
            yield name, "\n".join(source.split("\n")[_start(node) - 1 : node.end_lineno])


def _undefined(program: str) -> set[str]:
    tree = _tree(program)
    bound = {name for node in (tree.body if tree else ()) for name in _bound(node)}
    return _used(program) - bound - set(dir(builtins))


def _names(nodes: Iterable[ast.AST], context: type[ast.expr_context]) -> Iterator[str]:
    for root in nodes:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and isinstance(node.ctx, context):
                yield node.id


def _tree(program: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(program)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def _function(tree: ast.Module | None, name: str) -> ast.FunctionDef | None:
    """The last definition of the function at the top level."""
    found = [node for node in (tree.body if tree else ()) if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found else None


def _says_nothing(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )
