"""Programs run side by side, and what comes of them stays in order."""

import os
import threading

import pytest

from sft_sweeps.benchmarks import mini
from sft_sweeps.benchmarks.item import Verdict
from sft_sweeps.errors import RunError
from sft_sweeps.execution import Isolation
from sft_sweeps.sandbox import run
from sft_sweeps.sandbox.parallel import run_each


def test_as_many_at_once_as_there_are_cores_and_in_order() -> None:
    cores = len(os.sched_getaffinity(0))
    together = threading.Barrier(cores)
    told: list[int] = []

    def work(n: int, _: object) -> int:
        together.wait(timeout=30)
        return n * n

    given = range(3 * cores)
    assert run_each(work, given, run.DEFAULT, told.append) == [n * n for n in given]
    assert told == [n + 1 for n in given]


def test_the_miniatures_programs_are_judged_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()

    def judged(_: str, item: mini.Item, *__: object) -> Verdict:
        threads.add(threading.current_thread())
        return Verdict(item.id, True, "right")

    monkeypatch.setattr(mini, "judge", judged)
    (definition,) = [one for one in mini.DEFINITIONS if one.name == "mini_code"]
    items = {item.id: item for item in mini.items("mini_code", 4, 0)}
    rows = [{"id": key, "answers": [""]} for key in items]

    class Context:
        class benchmark:  # noqa: N801
            name, total = "mini_code", 0

        isolation = run.DEFAULT

    found = definition.score(rows, items, Context)  # type: ignore[arg-type]
    assert [verdict["item"] for verdict in found.verdicts] == list(items)
    assert threading.main_thread() not in threads


def test_nothing_is_run_without_what_is_required() -> None:
    with pytest.raises(RunError):
        run_each(lambda *_: pytest.fail("it ran"), [1], Isolation(mode="none", require=("net",)))
