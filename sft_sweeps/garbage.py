"""The garbage collector while large libraries are imported.

Imports make hundreds of thousands of objects that stay, and next to no garbage; walking through them again and again
takes a fifth of the imports' time.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Imports without the collector. What exists at the end is never looked at again (and, in a fork, not copied).

    For imports alone: frozen garbage that held a model's memory would keep it.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
