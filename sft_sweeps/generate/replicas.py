"""Several replicas of a model answer side by side, each in a process of its own on its own GPUs.

Prompts are dealt longest first, each replica a share; this process alone keeps answers, so that a stopped job goes on
with any number of replicas. One that dies ends the work, and what was answered stays.
"""

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
from sft_sweeps.generate import replica
from sft_sweeps.generate.hf import CHECKED, HFEngine, unlike
from sft_sweeps.plan.engines import INSTALL
from sft_sweeps.spec import Engine
from sft_sweeps.store.answers import Answer

POLL_SECONDS = 0.2
END_SECONDS = 5.0
CPU_SHARE = 0.4  # of the memory of a machine without GPUs, for all of vLLM's replicas
# What makes a Python find another's packages: vLLM's finds its own.
OURS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSAFEPATH")
Message = dict[str, Any]
log = logging.getLogger(__name__)


def opened(
    folder: Path,
    engine: Engine,
    seats: Sequence[str],
    *,
    label: str,
    python: str = "",
    threads: int = 1,
    check: Callable[[], None] = lambda: None,
) -> "HFEngine | Replicas":
    """The engine with its weights, in this process where one replica of the reference answers; `label` is the log's."""
    if engine.backend == "hf" and len(seats) == 1:
        return HFEngine(folder, engine)
    log.info("%d replicas of %s answer for %s", len(seats), engine.backend, label)
    python = python if engine.backend != "hf" else ""
    return Replicas(folder, engine, seats, python=python, threads=threads, check=check)


class Replicas:
    """As HFEngine, for as many replicas as there are `seats` (their CUDA_VISIBLE_DEVICES; "": no GPU)."""

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        seats: Sequence[str],
        *,
        python: str = "",
        threads: int = 1,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """`check` is called while answers are waited for, and may raise."""
        self.engine, self.python, self.check = engine, python or sys.executable, check
        self.messages: queue.SimpleQueue[tuple[int, Message | None]] = queue.SimpleQueue()
        self.processes: list[subprocess.Popen[str]] = []
        self.awaited = len(seats)
        wish = {"backend": engine.backend, "version": engine.version, "dtype": engine.dtype, "threads": threads}
        wish |= {"folder": str(folder), "path": sys.path, "share": CPU_SHARE / len(seats)}
        try:
            for seat in seats:
                self._start(seat, wish | {"gpus": len(seat.split(",")) if seat else 0}, threads)
        except BaseException:
            self.close()
            raise

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        batch_size: int,
        eos_id: int,
        progress: Callable[[int], None] = lambda _: None,
        *,
        keep: Callable[[int, Answer], None] = lambda _place, _answer: None,
        sampling: Sequence[tuple[float, int]] = (),
    ) -> list[Answer]:
        """As HFEngine's."""
        answers: dict[int, Answer] = {}
        common = {"do": "generate", "new": max_new_tokens, "batch": batch_size, "eos": eos_id}
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))

        def request(places: Sequence[int]) -> Message:
            drawn = [list(sampling[place]) for place in places] if sampling else []
            return {**common, "prompts": [list(prompts[place]) for place in places], "sampling": drawn}

        def heard(place: int, found: Message) -> None:
            answers[place] = Answer(found["ids"], found["finished"])
            keep(place, answers[place])

        self._ask(order, request, heard, lambda: progress(len(answers)))
        return [answers[place] for place in range(len(prompts))]

    def self_check(self, prompts: Sequence[Sequence[int]], batch_size: int, eos_id: int) -> tuple[int, int]:
        """As HFEngine's, by one replica: all compute alike."""
        found: list[tuple[int, int]] = []
        common = {"do": "self_check", "batch": batch_size, "eos": eos_id}
        some = {
            **common,
            "prompts": unlike(prompts, CHECKED),
        }
        self._ask([0], lambda _: some, lambda _, said: found.append(tuple(said["found"])), lambda: None)
        return found[0]

    def losses(
        self, encoded: Sequence[Encoded], progress: Callable[[int], None] = lambda _: None
    ) -> list[tuple[float, int]]:
        """As HFEngine's."""
        if self.engine.backend != "hf":
            raise RunError(f"evaluate.engine={self.engine.backend} takes no losses; set evaluate.engine=hf")
        found: dict[int, tuple[float, int]] = {}
        order = sorted(range(len(encoded)), key=lambda place: -len(encoded[place].input_ids))

        def request(places: Sequence[int]) -> Message:
            examples = [(encoded[place].input_ids.tolist(), encoded[place].supervised.tolist()) for place in places]
            return {"do": "losses", "examples": examples}

        def heard(place: int, said: Message) -> None:
            found[place] = (float(said["found"][0]), int(said["found"][1]))

        self._ask(order, request, heard, lambda: progress(len(found)))
        return [found[place] for place in range(len(encoded))]

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

    def _start(self, seat: str, wish: Mapping[str, Any], threads: int) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        if self.python != sys.executable:
            environment = {key: value for key, value in environment.items() if key not in OURS}
        if seat:
            environment["CUDA_VISIBLE_DEVICES"] = seat
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
        place = len(self.processes)
        self.processes.append(process)
        threading.Thread(target=self._listen, args=(place, process), daemon=True).start()
        self._tell(place, wish)

    def _listen(self, place: int, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        with suppress(ValueError, OSError):  # closed, or cut off in the middle of a line: either way it has ended
            for line in process.stdout:
                self.messages.put((place, json.loads(line)))
        self.messages.put((place, None))

    def _tell(self, place: int, message: Mapping[str, Any]) -> None:
        pipe = self.processes[place].stdin
        assert pipe is not None
        with suppress(OSError):  # it has ended: `_hear` says how
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()

    def _ask(
        self,
        order: Sequence[int],
        request: Callable[[Sequence[int]], Message],
        heard: Callable[[int, Message], None],
        step: Callable[[], None],
    ) -> None:
        """Deal the places of the work, and tell of each answer; `step` is called in between, and may raise."""
        try:
            while self.awaited:
                self._hear({}, heard, step)
            shares = {n: order[n :: len(self.processes)] for n in range(len(self.processes))}
            working = {n: share for n, share in shares.items() if share}
            for number, share in working.items():
                self._tell(number, request(share))
            while working:
                self._hear(working, heard, step)
        except BaseException:
            self.close()  # what they are about to say would be taken for the answer to something else
            raise

    def _hear(
        self, working: dict[int, Sequence[int]], heard: Callable[[int, Message], None], step: Callable[[], None]
    ) -> None:
        """One message, if one comes; RunError where a replica failed (of itself, not by the signal that ends us)."""
        self.check()
        step()
        try:
            number, said = self.messages.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if said is None or "error" in said:
            self.check()
            raise RunError(self._why(number, said))
        if "ready" in said:
            self._accept(str(said["ready"]))
            self.awaited -= 1
        elif "done" in said:
            del working[number]
        else:
            heard(working[number][said.get("place", 0)], said)

    def _accept(self, version: str) -> None:
        if version.partition(".")[0] != self.engine.version:
            name, wanted = self.engine.backend, self.engine.version
            raise RunError(f"{name} {version} is installed, but evaluate.engine_version={wanted}")

    def _why(self, number: int, said: Message | None) -> str:
        name = f"replica {number + 1} of {len(self.processes)} of {self.engine.backend}"
        if said is None:
            code = self.processes[number].wait()
            return f"{name} {f'was killed by signal {-code}' if code < 0 else f'left with status {code}'}"
        if "No module named 'vllm'" in said["error"]:
            return f"{self.python} has no vllm. {INSTALL}"
        return f"{name} failed: {said['error']}"
