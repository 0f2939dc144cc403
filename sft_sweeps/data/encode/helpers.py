"""Blocks that are encoded side by side, in helper processes.

Each has a pipe of its own, which ends with it: a helper that is killed, for its memory perhaps, is noticed whatever it
was about to say. A pool's shared queue stays open then, and half an answer in it is waited for without end.
"""

import multiprocessing
import os
import queue
import signal
import traceback
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from sft_sweeps.data.encode.blocks import Block, Worker, WorkerSettings

Chunk = tuple[int, list[Any]]


class HelperKilledError(Exception):
    """A helper ended before its block was encoded."""


class Helper:
    """A process that encodes one block at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(target=_help, args=(other_end, settings), daemon=True)
        self._process.start()
        other_end.close()

    def block(self, chunk: Chunk) -> Block:
        """What becomes of the rows; raises what that raised, HelperKilledError where the helper ended."""
        try:
            self._pipe.send(chunk)
            block, error = self._pipe.recv()
        except (EOFError, ConnectionError):
            raise HelperKilledError from None
        if error is not None:
            raise error
        made: Block = block
        return made

    def end(self) -> None:
        self._process.kill()
        self._process.join()


def _help(pipe: Connection, settings: WorkerSettings) -> None:
    """Encode what is sent, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started this process, and then ends it
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    worker = None
    with suppress(EOFError, ConnectionError):
        while True:
            chunk = pipe.recv()
            try:
                worker = worker or Worker(*settings)
                answer: Any = worker.block(chunk), None
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = None, error
            pipe.send(answer)


def side_by_side(chunks: Iterator[Chunk], settings: WorkerSettings, processes: int) -> Iterator[Block]:
    """In the order of the rows; no more blocks are under way than the helpers can have in hand."""
    helpers: list[Helper] = []
    free: queue.SimpleQueue[Helper] = queue.SimpleQueue()

    def block(chunk: Chunk) -> Block:
        helper = free.get()
        try:
            return helper.block(chunk)
        finally:
            free.put(helper)

    with ThreadPoolExecutor(processes) as threads:
        under_way: deque[Future[Block]] = deque()
        try:
            for _ in range(processes):
                helpers.append(Helper(settings))
                free.put(helpers[-1])
            for chunk in chunks:
                under_way.append(threads.submit(block, chunk))
                if len(under_way) > 2 * processes:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
            for helper in helpers:
                helper.end()
