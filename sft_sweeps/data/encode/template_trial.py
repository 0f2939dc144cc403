"""Whether a chat template ends: a program that came with a model may loop for ever or fill the memory.

It is rendered once in a process of its own that has a limit on time and memory, before it is rendered in this one.
"""

import json
import resource
import subprocess
import sys
from functools import lru_cache
from typing import Any

from sft_sweeps.data.encode.template_renderer import MOST_CHARACTERS, Renderer, TooLongError
from sft_sweeps.data.encode.tool_layout import ANSWER, CALLING, TOOL
from sft_sweeps.errors import RequestError

SECONDS = 10  # of CPU; the longest published templates need a hundredth
MEMORY_BYTES = 2 << 30  # of address space, most of it Python's own
ROUNDS = (1, 2, 8)


def check(text: str, settings: dict[str, Any], folder: str) -> None:
    """RequestError where a folder's chat template does not end within the limits; what else it does is not judged."""
    problem = _problem(text, json.dumps({key: value for key, value in settings.items() if key.endswith("_token")}))
    if problem:
        raise RequestError(
            f"the chat template of {folder} {problem}. Take the one that the model was published with, or choose "
            "another train.template, e.g. vicuna_v1.1."
        )


@lru_cache(maxsize=64)
def _problem(text: str, settings: str) -> str:
    if len(text) > MOST_CHARACTERS:
        return f"has {len(text):,} characters; {MOST_CHARACTERS:,} are the most that is read"
    order = json.dumps({"text": text, "settings": json.loads(settings), "seconds": SECONDS})
    try:
        trial = subprocess.run(
            [sys.executable, "-m", __name__],
            input=order.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=6 * SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {6 * SECONDS} seconds"
    if trial.returncode == 0:
        return ""
    if trial.returncode == 3:
        return f"writes more than {MOST_CHARACTERS:,} characters around a few short messages"
    return f"does not end within {SECONDS} seconds, or needs more than {MEMORY_BYTES >> 30} GB"


def _main() -> int:
    """Render the template of an order on standard input; 3 where it writes too much, a signal at a limit."""
    order = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (order["seconds"], order["seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        render = Renderer(order["text"], order["settings"])
        for rounds in ROUNDS:
            turns = ("user", "assistant") * rounds
            messages = [{"role": role, "content": f"text {index}"} for index, role in enumerate(turns)]
            for asks in (False, True):
                render(messages[:-1] if asks else messages, ask=asks)
        render([{"role": "user", "content": "text"}, CALLING, ANSWER], tools=[TOOL])
    except TooLongError:
        return 3
    except MemoryError:
        return 4
    except Exception:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(_main())
