"""The script that is started in a sandbox: the fork server or, given the word `candidate`, a strict run's candidate.

What else it needs stands before the order on standard input, compiled: compiling and importing it anew would double the
time of a run, and so the run sees no file of this project but this one.
"""

import marshal
import os
import sys

PREFIX = 12  # digits of a length


class Bundle:
    """Imports modules from their code; their names are gone again before a program runs."""

    def __init__(self, code: dict) -> None:  # type: ignore[type-arg]
        self.code = code

    def find_spec(self, name: str, *_: object) -> object:
        machinery = __import__("_frozen_importlib")
        if name in self.code:
            return machinery.ModuleSpec(name, self, is_package=not self.code[name])
        return None

    def create_module(self, _: object) -> None:
        return None

    def exec_module(self, module: object) -> None:
        if code := self.code[module.__name__]:  # type: ignore[attr-defined]
            exec(code, module.__dict__)

    def forget(self) -> None:
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        for name in self.code:
            sys.modules.pop(name, None)


def main() -> None:
    size = int(os.read(0, PREFIX))
    text = b""
    while len(text) < size:
        text += os.read(0, size - len(text))
    bundle = Bundle(marshal.loads(text))
    sys.meta_path.insert(0, bundle)  # type: ignore[arg-type]
    from sft_sweeps.sandbox.inside import candidate, fork_server

    bundle.forget()
    if sys.argv[1:] == ["candidate"]:
        candidate.main()
    else:
        fork_server.main(__file__, b"%0*d" % (PREFIX, size) + text, sys.argv[1:] == ["many"])


if __name__ == "__main__":
    main()
