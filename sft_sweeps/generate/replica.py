"""One replica of a model in a process of its own: requests come in as JSON lines, answers go out as they end.

    python replica.py        started by `replicas`, with its GPUs in CUDA_VISIBLE_DEVICES

Stand-alone: vLLM's releases pin other versions of torch and transformers than training needs (0.33: transformers below
5.21), so it lives in an environment of its own, where nothing of ours is installed. Token ids in, token ids out makes
that easy. The first line says which file serves (serve_hf.py, serve_vllm.py, or another distribution's); the file has a
class `Served` with a `version` and a method for each kind of request:

    generate      {"prompts": {"ids", "limits", "eos_id", "sampling": [[temperature, seed], ...]}, "batch_size"}
                  sends {"index", "ids", "finished"} for each prompt
    self_check    the same; sends {"index": 0, "check": [prompts checked, prompts that differ]}
    losses        {"examples": [[ids, supervised], ...]}; sends {"index", "loss": [nats, supervised tokens]} for each

Whatever a library prints goes to the log; signals are for the process that started this one, and when that is gone,
this one is too.
"""

import importlib.util
import json
import os
import queue
import signal
import sys
import threading
import traceback
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)  # blocked by who starts this, until they are ignored here


def _read(requests: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Requests as they come; at their end whoever sends them is gone, and so is the work."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    os.killpg(0, signal.SIGKILL)  # with what vLLM has started


def _served(settings: dict[str, Any]) -> Any:
    """The engine, of the class `Served` in the file that the settings name."""
    spec = importlib.util.spec_from_file_location("served", settings["file"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Served(settings)


def main() -> None:
    """Serve until the requests end; an error is sent, and ends the process."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    own_folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or ".") != own_folder]
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    try:
        engine = _served(requests.get())
        send({"ready": engine.version})
        while True:
            asked = requests.get()
            getattr(engine, asked["do"])(asked, send)
            send({"done": True})
    except Exception as error:
        traceback.print_exc()
        kind = type(error).__name__
        send({"error": str(error) if kind == "RunError" else f"{kind}: {error}"})  # the engine's own say enough
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    main()
