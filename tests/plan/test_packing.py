"""Packing keeps the machine, the order and the deadline; it is held to an exhaustive search on tiny plans."""

import itertools
import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.plan.packing import Packing, pack
from sft_sweeps.plan.schedule import Machine, Option, Schedule, Task

SIZES = (1, 2, 4, 8, 16)


@st.composite
def sweeps(draw: st.DrawFn, most: int = 12) -> tuple[list[Task], Machine, dict[str, int]]:
    """Tasks that fit on one GPU at least, of up to two parents; a machine, and a configuration that it may lack."""
    machine = Machine(draw(st.integers(1, 24)), draw(st.sampled_from((1, 2, 4, 8))))
    tasks: list[Task] = []
    for place in range(draw(st.integers(1, most))):
        sizes = {1, *draw(st.sets(st.sampled_from(SIZES)))}
        options = tuple(Option(gpus, draw(st.integers(1, 40)) / 2) for gpus in sorted(sizes))
        parents = draw(st.sets(st.sampled_from([task.id for task in tasks]), max_size=2)) if tasks else set()
        tasks.append(Task(str(place), options, tuple(sorted(parents))))
    configured = {task.id: draw(st.sampled_from(task.options)).gpus for task in tasks}
    return tasks, machine, configured


def check(schedule: Schedule, tasks: Sequence[Task], machine: Machine) -> None:
    """All tasks, once, each on GPUs that one node has, or on whole nodes; parents first; never more than there are."""
    assert sorted(one.task for one in schedule.placed) == sorted(task.id for task in tasks)
    for task in tasks:
        one = schedule.of[task.id]
        assert any(o.gpus == one.gpus and abs(o.hours - (one.end - one.start)) < 1e-9 for o in task.options)
        assert one.start >= max((schedule.of[parent].end for parent in task.parents), default=0)
        if len(one.nodes) > 1:
            assert all(machine.nodes[node] == machine.per_node for node in one.nodes)
            assert one.gpus == len(set(one.nodes)) * machine.per_node
    for hour in {one.start for one in schedule.placed}:
        used = [0] * len(machine.nodes)
        for one in schedule.placed:
            if one.start <= hour < one.end:
                for node in one.nodes:
                    used[node] += one.gpus // len(one.nodes)
        assert all(in_use <= there for in_use, there in zip(used, machine.nodes, strict=True))


@given(sweeps())
def test_no_schedule_uses_more_than_the_gpus_or_starts_before_a_parent(
    sweep: tuple[list[Task], Machine, dict[str, int]],
) -> None:
    tasks, machine, configured = sweep
    made = pack(tasks, machine, configured)
    for schedule in (*made.front, *([made.configured] if made.configured else [])):
        check(schedule, tasks, machine)
        assert schedule.hours >= made.least_hours * (1 - 1e-9)
        assert schedule.gpu_hours >= made.least_gpu_hours * (1 - 1e-9)


@given(sweeps(), st.lists(st.floats(0.5, 200), min_size=2, max_size=6))
def test_a_deadline_is_kept_or_refused_and_a_later_one_never_costs_more(
    sweep: tuple[list[Task], Machine, dict[str, int]], deadlines: list[float]
) -> None:
    made = pack(*sweep)
    last = None
    for deadline in sorted(deadlines):
        schedule = made.within(deadline)
        assert schedule or last is None
        assert schedule is None or schedule.hours <= deadline * (1 + 1e-6)
        assert schedule is None or last is None or schedule.gpu_hours <= last.gpu_hours
        last = schedule
    cheapest = made.within(None)
    assert cheapest is not None
    assert last is None or cheapest.gpu_hours <= last.gpu_hours


@given(sweeps())
def test_what_is_configured_is_never_cheaper_than_what_is_packed(
    sweep: tuple[list[Task], Machine, dict[str, int]],
) -> None:
    made = pack(*sweep)
    if made.configured:
        packed = made.within(made.configured.hours)
        assert packed is not None
        assert packed.gpu_hours <= made.configured.gpu_hours * (1 + 1e-9)


def exhaustive(tasks: Sequence[Task], gpus: int) -> list[tuple[float, float]]:
    """(hours, GPU-hours) of every choice of options in every order, each task as early as it can be, on one node."""
    found = set()
    for options in itertools.product(*(task.options for task in tasks)):
        for order in itertools.permutations(range(len(tasks))):
            ends: dict[str, tuple[float, float, int]] = {}
            for place in order:
                task, option = tasks[place], options[place]
                if not ends.keys() >= set(task.parents):
                    break
                after = max((ends[parent][1] for parent in task.parents), default=0.0)
                starts = sorted({after, *(end for _, end, _ in ends.values() if end > after)})
                ends[task.id] = _earliest(starts, option, list(ends.values()), gpus)
            else:
                total = sum(option.gpu_hours for option in options)
                found.add((max(end for _, end, _ in ends.values()), total))
    return sorted(found)


def _earliest(
    starts: Sequence[float], option: Option, running: Sequence[tuple[float, float, int]], gpus: int
) -> tuple[float, float, int]:
    for start in starts:
        end = start + option.hours
        points = [start, *(begin for begin, _, _ in running if start < begin < end)]
        used = (sum(n for begin, stop, n in running if begin <= at < stop) for at in points)
        if max(used) + option.gpus <= gpus:
            return start, end, option.gpus
    raise AssertionError("the last start has an empty machine")


def tiny(stream: random.Random) -> tuple[list[Task], int]:
    """Up to four stages whose speed grows with their GPUs, as stages' does."""
    gpus = stream.choice((2, 3, 4))
    tasks: list[Task] = []
    for place in range(stream.randint(2, 4)):
        alone, efficiency = stream.randint(2, 20), stream.uniform(0.55, 0.95)
        sizes = [n for n in (1, 2, 4) if n <= gpus][: stream.randint(1, 3)]
        options = tuple(Option(n, float(round(alone / n / efficiency ** (n - 1), 1))) for n in sizes)
        parents = stream.sample([task.id for task in tasks], min(stream.choice((0, 1, 1, 2)), len(tasks)))
        tasks.append(Task(str(place), options, tuple(parents)))
    return tasks, gpus


def cheapest(front: Sequence[tuple[float, float]], deadline: float) -> float:
    return min(cost for hours, cost in front if hours <= deadline + 1e-9)


def of(made: Packing) -> list[tuple[float, float]]:
    return [(one.hours, one.gpu_hours) for one in made.front]


def test_tiny_plans_are_near_those_of_an_exhaustive_search() -> None:
    """Never better, which would be an error of either; the shortest and the cheapest the same in nearly all."""
    stream = random.Random(0)
    shortest, excess = 0, []
    for _ in range(60):
        tasks, gpus = tiny(stream)
        best, made = exhaustive(tasks, gpus), pack(tasks, Machine(gpus, gpus), {})
        for hours, cost in of(made):
            assert cost >= cheapest(best, hours) - 1e-6
            excess.append(cost / cheapest(best, hours) - 1)
        assert abs(made.front[-1].gpu_hours - min(cost for _, cost in best)) < 1e-6
        assert made.front[0].hours >= best[0][0] - 1e-6
        assert made.front[0].hours <= best[0][0] * 1.2
        shortest += made.front[0].hours <= best[0][0] + 1e-6
    assert shortest >= 55
    assert sum(excess) / len(excess) < 0.02


@settings(max_examples=20)
@given(sweeps(most=6), st.integers(2, 4))
def test_more_gpus_raise_no_bound(sweep: tuple[list[Task], Machine, dict[str, int]], times: int) -> None:
    tasks, machine, configured = sweep
    larger = Machine(machine.gpus * times, machine.per_node)
    assert pack(tasks, larger, configured).least_hours <= pack(tasks, machine, configured).least_hours * (1 + 1e-9)
