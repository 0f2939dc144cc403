"""What a run is told, as bytes in two parts, so that a candidate can be started before anything of the checks is read;
what is said of it is a part too.

A part is a list of texts: their sizes in a line, then the texts; before it stands its length. Both ends are here.
"""

import os

TYPE_CHECKING = False  # `typing` would cost milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DIGITS = 12  # of a part's length
READY = b"+"  # after a run's answer: nothing is left of it, and another keeper waits for its order


class Order:
    """The first part, all that a candidate is told: the program, and how it is confined."""

    def __init__(self, fields: "list[bytes]") -> None:
        self.fields = fields
        mode, layers, entry, readable, program = (field.decode("utf-8", "surrogatepass") for field in fields[:5])
        self.mode, self.layers, self.entry, self.program = mode, layers.split(), entry, program
        self.readable = readable.split("\0") if readable else []
        self.filter = fields[5]
        self.timeout, self.memory, self.user, self.preload = map(float, fields[6].split())


class Checks:
    """The second part: what decides, and the word that says that it was passed."""

    def __init__(self, fields: "list[bytes]") -> None:
        self.nonce = fields[0]
        self.check, self.given = (field.decode("utf-8", "surrogatepass") for field in fields[1:])


def part(fields: "Iterable[str | bytes]") -> bytes:
    """The fields as one part."""
    texts = [field if isinstance(field, bytes) else field.encode("utf-8", "surrogatepass") for field in fields]
    body = b" ".join(b"%d" % len(text) for text in texts) + b"\n" + b"".join(texts)
    return b"%0*d" % (_DIGITS, len(body)) + body


def read(end: int, wait: "Callable[[], object]" = lambda: None) -> "list[bytes]":
    """The next part's fields, and not a byte more of what follows it; EOFError where there is none.

    `wait` is called before each read.
    """
    line, _, body = _exactly(end, int(_exactly(end, _DIGITS, wait)), wait).partition(b"\n")
    fields = []
    for size in map(int, line.split()):
        fields.append(body[:size])
        body = body[size:]
    return fields


def _exactly(end: int, size: int, wait: "Callable[[], object]") -> bytes:
    pieces = []
    while size:
        wait()
        piece = os.read(end, min(size, 1 << 20))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
