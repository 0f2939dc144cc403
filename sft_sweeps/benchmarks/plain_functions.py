"""Functions so plain that they are worked out here, in microseconds, where a sandbox takes a twentieth of a second.

    def solve(x):
        return (x + 3) * 2

One parameter, one `return`, and in it nothing but whole numbers below 100, + - * //, slices, `len`, `sorted`, and
`[w.upper() for w in ...]`. Nothing is executed: the syntax tree is walked, and whatever is not on this list, or would
grow large, is left to the sandbox.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

NODES = 60  # of a syntax tree
LONGEST = 10_000  # items of a list on the way
LARGEST = 10**12  # number on the way
_ERRORS = (TypeError, ZeroDivisionError, AttributeError, IndexError)
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}
_CALLS: dict[str, Callable[[Any], Any]] = {"len": len, "sorted": sorted}
Names = Mapping[str, Any]


class NotPlainError(Exception):
    """Something that is not on the list."""


def differs(definition: str, reference: str, inputs: Sequence[tuple[Any, ...]]) -> str | None:
    """How a function's values differ from the reference's, in value or type; "" where they do not; None: not plain."""
    try:
        given, wanted = _function(definition), _function(reference)
        for (value,) in inputs:
            right = wanted(value)
            try:
                answered = given(value)
            except _ERRORS as error:
                return type(error).__name__
            if type(answered) is not type(right) or answered != right:
                return "AssertionError"
    except NotPlainError:
        return None
    return ""


def _function(definition: str) -> Callable[[Any], Any]:
    try:
        tree = ast.parse(definition)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NotPlainError from error
    if sum(1 for _ in ast.walk(tree)) > NODES:
        raise NotPlainError
    match tree.body:
        case [
            ast.FunctionDef(
                args=ast.arguments(
                    posonlyargs=[], args=[ast.arg(parameter, None)], vararg=None, kwonlyargs=[], kwarg=None, defaults=[]
                ),
                body=[ast.Return(ast.expr() as result)],
                decorator_list=[],
                returns=None,
            )
        ]:
            return lambda value: _value(result, {parameter: value})
    raise NotPlainError


def _value(node: ast.AST | None, names: Names) -> Any:
    match node:
        case ast.Constant(int(number)) if type(number) is int and number < 100:
            return number
        case ast.Name(name) if name in names:
            return names[name]
        case ast.UnaryOp(ast.USub(), inner):
            return -_value(inner, names)
        case ast.BinOp(left, symbol, right) if type(symbol) in _BINARY:
            return _binary(_BINARY[type(symbol)], _value(left, names), _value(right, names))
        case ast.Subscript(of, ast.Slice(first, last, step)):
            return _value(of, names)[slice(*(part and _value(part, names) for part in (first, last, step)))]
        case ast.Call(ast.Name(name), [argument], []) if name in _CALLS and name not in names:
            return _CALLS[name](_value(argument, names))
        case ast.ListComp(
            ast.Call(ast.Attribute(ast.Name(word), "upper"), [], []),
            [ast.comprehension(ast.Name(each), of, [], 0)],
        ) if word == each:
            return [one.upper() for one in _value(of, names)]
    raise NotPlainError


def _binary(function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """What could grow large is left to the sandbox before it does: lists, texts, numbers."""
    numbers = [abs(side) for side in (left, right) if isinstance(side, int)]
    sizes = [len(side) for side in (left, right) if isinstance(side, list | str)]
    if max(numbers, default=0) > LARGEST or (
        sizes and function is operator.mul and sizes[0] * max(numbers, default=0) > LONGEST
    ):
        raise NotPlainError
    return function(left, right)
