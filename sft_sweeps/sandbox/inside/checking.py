"""Running program and checks: in one process, or each in its own with a pipe of plain data between them."""

import os

from sft_sweeps.sandbox.inside.plain_data import pack, unpack

TYPE_CHECKING = False  # `typing` would cost milliseconds
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from sft_sweeps.sandbox.inside.order import Checks, Order

VERDICT_LIMIT = 4096
MESSAGE_LIMIT = 16 * 2**20  # of one call or answer between checks and candidate


def alone(order: "Order", checks: "Checks") -> bytes:
    """The nonce when program and checks ran to their end, else the type of what they raised.

    The checks are compiled before the program can put another `compile` in place.
    """
    nonce, checks.nonce = checks.nonce, b""
    if order.mode == "probe":
        return nonce
    namespace: dict[str, Any] = {}
    program, check = compiled(order.program), compiled(checks.check)
    failure = execute(program, namespace) or execute(check, namespace)
    return (failure or nonce)[:VERDICT_LIMIT]


def compiled(text: str) -> "CodeType | bytes":
    """The code, or the type of what compiling raised."""
    try:
        return compile(text, "<program>", "exec")
    except BaseException as error:
        return name_of(error)


def execute(code: "CodeType | bytes", namespace: "dict[str, Any]", run: "Any" = exec) -> bytes:
    """Nothing, or the type of what the code raised; `run` is kept from programs that replace `exec`."""
    if isinstance(code, bytes):
        return code
    try:
        run(code, namespace)
    except BaseException as error:
        return name_of(error)
    return b""


def name_of(error: BaseException) -> bytes:
    return type(error).__name__.encode("utf-8", "replace") or b"an exception without a name"


def serve(order: "Order", calls: int, answers: int) -> None:
    """The candidate of a strict run: execute the program, then call its function as often as the checks ask."""
    import json  # by then it is loaded: afterwards it could not be read

    namespace: dict[str, Any] = {}
    failure = execute(compiled(order.program), namespace)
    reply: dict[str, object] = {"raised": failure.decode()} if failure else {"value": None}
    with os.fdopen(calls, "rb") as source, os.fdopen(answers, "wb") as sink:
        while True:
            sink.write(json.dumps(reply).encode() + b"\n")
            sink.flush()
            line = source.readline()
            if not line or failure:
                return
            try:
                reply = {"value": pack(namespace[order.entry](*unpack(json.loads(line))))}
            except BaseException as error:
                reply = {"raised": type(error).__name__}


def judge(order: "Order", checks: "Checks", calls: int, answers: int) -> bytes:
    """The checks of a strict run: the function that they call is asked for over the pipe. The nonce, or what failed."""
    import json  # by then it is loaded: afterwards it could not be read

    source, sink = os.fdopen(answers, "rb"), os.fdopen(calls, "wb")

    def asked(*arguments: object) -> object:
        sink.write(json.dumps(pack(arguments)).encode() + b"\n")
        sink.flush()
        return answer()

    def answer() -> object:
        line = source.readline(MESSAGE_LIMIT)
        if not line.endswith(b"\n"):
            raise EOFError
        reply = json.loads(line)
        if "raised" in reply:
            kind: Any = getattr(__import__("builtins"), str(reply["raised"]), None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            known = known and not issubclass(kind, StopIteration)  # it would end a loop of the checks, and no more
            raise (kind() if known else RuntimeError(str(reply["raised"])[:200]))
        return unpack(reply["value"])

    namespace: dict[str, Any] = {}
    failure = execute(compiled("ready()"), {"ready": answer}) or execute(compiled(checks.given), namespace)
    namespace[order.entry] = asked
    return (failure or execute(compiled(checks.check), namespace) or checks.nonce)[:VERDICT_LIMIT]
