"""The modules of `inside`, compiled, as `start.py` reads them."""

import marshal
from functools import cache
from pathlib import Path
from types import CodeType

from sft_sweeps.sandbox.inside import start

PACKAGE = f"{__name__.rpartition('.')[0]}.inside"
SCRIPT = Path(start.__file__).resolve()


@cache
def bundle() -> bytes:
    """By name, each module's code; packages have none."""
    parts = PACKAGE.split(".")
    code: dict[str, CodeType | None] = {".".join(parts[: end + 1]): None for end in range(len(parts))}
    for path in sorted(SCRIPT.parent.glob("*.py")):
        if path.name not in ("__init__.py", SCRIPT.name):
            code[f"{PACKAGE}.{path.stem}"] = compile(path.read_text(), str(path), "exec", dont_inherit=True, optimize=0)
    text = marshal.dumps(code)
    return b"%0*d" % (start.PREFIX, len(text)) + text
