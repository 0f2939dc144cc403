"""Several replicas of a model answer side by side, each in a process of its own on its own GPUs.

Prompts are dealt longest first, each replica a share; this process alone keeps answers, so that a stopped job goes on
with any number of replicas. One that dies ends the work, and what was answered stays.
"""

import importlib
import importlib.util
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.errors import RunError
from sft_sweeps.files import foreign
from sft_sweeps.generate import replica
from sft_sweeps.generate.engine import (
    CHECKED,
    AnswerEngine,
    Keep,
    Progress,
    Prompts,
    no_progress,
    not_kept,
    unlike,
)
from sft_sweeps.models import folder as checkpoint
from sft_sweeps.models.architectures import read_shape
from sft_sweeps.plan.engines import ENGINES
from sft_sweeps.spec.evaluation import Engine
from sft_sweeps.store.answers import Answer
from sft_sweeps.terminal import how_ended

POLL_SECONDS = 0.2
END_SECONDS = 5.0  # that a killed replica has to be gone
CPU_SHARE = 0.4  # of the memory of a machine without GPUs, for all replicas of vLLM
# What makes a Python find another's packages: an engine's own Python finds its own.
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSAFEPATH")
Message = dict[str, Any]
log = logging.getLogger(__name__)


def opened(
    folder: Path,
    engine: Engine,
    devices: Sequence[str],
    *,
    label: str,
    python: str = "",
    threads: int = 1,
    check: Callable[[], None] = lambda: None,
) -> AnswerEngine:
    """The engine with its weights, in this process where one replica of it is enough; `label` is the log's.

    `devices` are the replicas' CUDA_VISIBLE_DEVICES.
    """
    checkpoint.loadable(folder)  # else the engines would not all take the same weights from it
    backend = ENGINES.get(engine.backend)
    if backend.in_process and len(devices) == 1:
        module, _, name = backend.in_process.partition(":")
        loaded: AnswerEngine = getattr(importlib.import_module(module), name)(folder, engine)
        return loaded
    log.info("%d replicas of %s answer for %s", len(devices), engine.backend, label)
    python = python if backend.own_python else ""
    return Replicas(folder, engine, devices, python=python, threads=threads, check=check)


class Replicas:
    """An AnswerEngine of as many replicas as there are `devices` (their CUDA_VISIBLE_DEVICES; "": no GPU)."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        devices: Sequence[str],
        *,
        python: str = "",
        threads: int = 1,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called while answers are waited for, and may raise."""
        self.engine, self.python, self.check = engine, python or sys.executable, check
        self.backend = ENGINES.get(engine.backend)
        self.messages: queue.SimpleQueue[tuple[int, Message | None]] = queue.SimpleQueue()
        self.processes: list[subprocess.Popen[str]] = []
        self.starting = len(devices)
        settings: Message = {"file": _file_of(self.backend.serves), "folder": str(folder), "path": sys.path}
        settings |= {"version": engine.version, "dtype": engine.dtype, "threads": threads}
        settings |= {"share": CPU_SHARE / len(devices)}
        settings |= {"positions": read_shape(foreign.read_object(folder / "config.json")).max_positions}
        try:
            for visible in devices:
                self._start(visible, settings | {"gpus": len(visible.split(",")) if visible else 0}, threads)
        except BaseException:
            self.close()
            raise

    def generate(
        self, prompts: Prompts, batch_size: int, *, progress: Progress = no_progress, keep: Keep = not_kept
    ) -> list[Answer]:
        """See AnswerEngine."""
        answers: dict[int, Answer] = {}
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts.ids[index]))

        def request(indices: Sequence[int]) -> Message:
            return {"do": "generate", "batch_size": batch_size, "prompts": _as_json(prompts.select(indices))}

        def receive(index: int, message: Message) -> None:
            answers[index] = Answer(message["ids"], message["finished"])
            keep(index, answers[index])

        self._ask(order, request, receive, lambda: progress(len(answers)))
        return [answers[index] for index in range(len(prompts))]

    def self_check(self, prompts: Prompts, batch_size: int) -> tuple[int, int]:
        """See AnswerEngine; by one replica, since all compute alike."""
        some = _as_json(prompts.select(unlike(prompts.ids, CHECKED)))
        request = {"do": "self_check", "batch_size": batch_size, "prompts": some}
        checks: list[tuple[int, int]] = []
        self._ask([0], lambda _: request, lambda _, message: checks.append(tuple(message["check"])), lambda: None)
        return checks[0]

    def losses(self, encoded: Sequence[Encoded], progress: Progress = no_progress) -> list[tuple[float, int]]:
        """See AnswerEngine."""
        if not self.backend.takes_losses:
            raise RunError(f"evaluate.engine={self.engine.backend} takes no losses; set evaluate.engine=hf")
        losses: dict[int, tuple[float, int]] = {}
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index].input_ids))

        def request(indices: Sequence[int]) -> Message:
            chosen = [encoded[index] for index in indices]
            examples = [(example.input_ids.tolist(), example.supervised.tolist()) for example in chosen]
            return {"do": "losses", "examples": examples}

        def receive(index: int, message: Message) -> None:
            losses[index] = (float(message["loss"][0]), int(message["loss"][1]))

        self._ask(order, request, receive, lambda: progress(len(losses)))
        return [losses[index] for index in range(len(encoded))]

    def close(self) -> None:
        """End every replica, and what it has started."""
        for process in self.processes:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError, ValueError):
                    assert pipe is not None
                    pipe.close()
        self.processes = []

    def _start(self, visible: str, settings: Mapping[str, Any], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        if self.python != sys.executable:
            environment = {key: value for key, value in environment.items() if key not in OURS}
        if visible:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        before = signal.pthread_sigmask(signal.SIG_BLOCK, replica.SIGNALS)  # none ends it before it ignores them
        try:
            process = subprocess.Popen(
                [self.python, "-u", str(Path(replica.__file__).resolve())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
                process_group=0,
            )
        except OSError as error:
            raise RunError(f"evaluate.engine_python={self.python} cannot be started ({error.strerror})") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        number = len(self.processes)
        self.processes.append(process)
        threading.Thread(target=self._listen, args=(number, process), daemon=True).start()
        self._send(number, settings)

    def _listen(self, number: int, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with suppress(ValueError, OSError):  # closed, or cut off in the middle of a line: either way it has ended
            for line in process.stdout:
                self.messages.put((number, json.loads(line)))
        self.messages.put((number, None))

    def _send(self, number: int, message: Mapping[str, Any]) -> None:
        pipe = self.processes[number].stdin
        assert pipe is not None
        with suppress(OSError):  # it has ended: `_receive` says how
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

    def _ask(
        self,
        order: Sequence[int],
        request: Callable[[Sequence[int]], Message],
        receive: Callable[[int, Message], None],
        step: Callable[[], None],
    ) -> None:
        """Deal the indices in `order` out; `receive` gets each answer, `step` is called in between and may raise."""
        try:
            while self.starting:
                self._receive({}, receive, step)
            shares = {n: order[n :: len(self.processes)] for n in range(len(self.processes))}
            working = {n: share for n, share in shares.items() if share}
            for number, share in working.items():
                self._send(number, request(share))
            while working:
                self._receive(working, receive, step)
        except BaseException:
            self.close()  # what they are about to say would be taken for the answer to something else
            raise

    def _receive(
        self, working: dict[int, Sequence[int]], receive: Callable[[int, Message], None], step: Callable[[], None]
    ) -> None:
        """One message, if one comes; RunError where a replica failed (of itself, not by the signal that ends us)."""
        self.check()
        step()
        try:
            number, message = self.messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if message is None or "error" in message:
            self.check()
            raise RunError(self._why(number, message))
        if "ready" in message:
            self._accept(str(message["ready"]))
            self.starting -= 1
        elif "done" in message:
            del working[number]
        else:
            receive(working[number][message["index"]], message)

    def _accept(self, version: str) -> None:
        if version.partition(".")[0] != self.engine.version:
            name, wanted = self.engine.backend, self.engine.version
            raise RunError(f"{name} {version} is installed, but evaluate.engine_version={wanted}")

    def _why(self, number: int, message: Message | None) -> str:
        name = f"replica {number + 1} of {len(self.processes)} of {self.engine.backend}"
        if message is None:
            code = self.processes[number].wait()
            return f"{name} {how_ended(code)}"
        if self.backend.install and f"No module named '{self.backend.name}'" in message["error"]:
            return f"{self.python} has no {self.backend.name}. {self.backend.install}"
        return f"{name} failed: {message['error']}"


def _file_of(module: str) -> str:
    """The file of a module, which is not imported here."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RunError(f"the engine's module {module} is not installed")
    return spec.origin


def _as_json(prompts: Prompts) -> Message:
    sampling = [(each.temperature, each.seed) for each in prompts.sampling]
    ids = [list(each) for each in prompts.ids]
    return {"ids": ids, "limits": list(prompts.limits), "eos_id": prompts.eos_id, "sampling": sampling}
