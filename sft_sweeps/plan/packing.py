"""Which tasks get how many GPUs, and when: the fewest GPU-hours for each wall-clock time that can be reached.

Each task may run on several numbers of GPUs (moldable tasks); a child starts after its parent; nothing is interrupted.
The problem is NP-hard (Du and Leung 1989), so this is a heuristic with a bound beside it:

1. Allotments. All tasks begin with their cheapest option. Again and again the longest chain gives more GPUs to the one
   of its tasks where an hour costs the fewest GPU-hours (as CPA does: Radulescu and van Gemund 2001), to the fastest.
2. Schedules. Each allotment is list-scheduled, the task on the longest remaining chain first (Graham 1969; Hu 1961),
   once with smaller tasks filling gaps and once without. GPUs lie on nodes: a task has GPUs of one node, or whole ones.
3. The shortest is shortened: of the tasks that follow on each other up to its end, one gets more GPUs, or fewer.
4. Of each schedule on the front of wall-clock and GPU-hours, tasks get cheaper options where it ends no later.

The front does not depend on the deadline, which only picks from it: a later one never costs more.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sft_sweeps.plan.schedule import Machine, Option, Placed, Pool, Schedule, Task

ALLOTMENTS = 48  # that are scheduled, at most
WORK = 60_000  # tasks scheduled in shortening, and in improving the front, at most: half a second each
SLACK = 1e-9  # relative, of sums of floats


@dataclass(frozen=True)
class Packing:
    """The front: schedules from the fastest to the cheapest; what no schedule can be below; what is configured now."""

    machine: Machine
    front: tuple[Schedule, ...]
    longest_chain: float  # hours, every task as fast as it can be
    least_gpu_hours: float  # every task as cheap as it can be
    configured: Schedule | None  # every task on its configured GPUs; None where they do not fit here

    @property
    def least_hours(self) -> float:
        """No schedule of these tasks on these GPUs can end earlier."""
        return max(self.longest_chain, self.least_gpu_hours / self.machine.gpus)

    def within(self, deadline: float | None) -> Schedule | None:
        """The cheapest that keeps the deadline (hours); None where none does. Without a deadline: the cheapest."""
        if deadline is None:
            return self.front[-1]
        kept = [one for one in self.front if one.hours <= deadline * (1 + SLACK)]
        return kept[-1] if kept else None


def pack(tasks: Sequence[Task], machine: Machine, configured: Mapping[str, int]) -> Packing:
    """The front of schedules. Tasks come parents first, each with at least one option that the machine holds.

    `configured` is each task's number of GPUs as it would run without packing; a task that is not in it has no choice.
    """
    them = _Tasks(tasks, machine)
    found = [them.best(choice) for choice in them.allotments()]
    today = _on_configured(tasks, machine, configured)
    if today:
        found.append((today, them.as_fast_as(today)))
    found += them.shortened(*min(found, key=lambda one: one[0].hours))
    return Packing(
        machine,
        tuple(schedule for schedule, _ in them.improved(_front(found))),
        them.shortest_chain,
        sum(options[0].gpu_hours for options in them.options),
        today,
    )


def _on_configured(tasks: Sequence[Task], machine: Machine, configured: Mapping[str, int]) -> Schedule | None:
    """The schedule without any choice; None where the machine lacks one of the numbers of GPUs."""
    fixed = []
    for task in tasks:
        gpus = configured.get(task.id, task.options[0].gpus)
        own = tuple(one for one in task.options if one.gpus == gpus and machine.holds(gpus))
        fixed.append(replace(task, options=own))
    if not all(task.options for task in fixed):
        return None
    return _Tasks(fixed, machine).best([0] * len(fixed))[0]


Choice = list[int]  # of each task, the place of its option


class _Tasks:
    """The tasks by their place, with the options that are worth having: each next one faster and dearer."""

    def __init__(self, tasks: Sequence[Task], machine: Machine) -> None:
        self.machine, self.tasks = machine, tasks
        places = {task.id: place for place, task in enumerate(tasks)}
        self.parents = [[places[parent] for parent in task.parents] for task in tasks]
        self.children: list[list[int]] = [[] for _ in tasks]
        for place, parents in enumerate(self.parents):
            for parent in parents:
                self.children[parent].append(place)
        self.roots = [place for place, parents in enumerate(self.parents) if not parents]
        self.options = [_worthwhile([o for o in task.options if machine.holds(o.gpus)]) for task in tasks]

    def as_fast_as(self, schedule: Schedule) -> Choice:
        """The cheapest options with which no task takes longer than in a schedule."""
        choice = []
        for task, options in zip(self.tasks, self.options, strict=True):
            taken = (schedule.of[task.id].end - schedule.of[task.id].start) * (1 + SLACK)
            choice.append(next(place for place, one in enumerate(options) if one.hours <= taken))
        return choice

    def levels(self, choice: Choice) -> list[float]:
        """Of each task, the hours of the longest chain that begins with it."""
        below = [0.0] * len(self.tasks)
        level = [0.0] * len(self.tasks)
        for place in reversed(range(len(self.tasks))):  # children before parents
            level[place] = self.options[place][choice[place]].hours + below[place]
            for parent in self.parents[place]:
                below[parent] = max(below[parent], level[place])
        return level

    @cached_property
    def shortest_chain(self) -> float:
        """The hours of the longest chain where every task is as fast as it can be."""
        return max(self.levels([len(options) - 1 for options in self.options]), default=0.0)

    def allotments(self) -> list[Choice]:
        """From the cheapest to the fastest, evenly spread over the lengths of the longest chain."""
        choice = [0] * len(self.tasks)
        level = self.levels(choice)
        roots = [(-level[place], place) for place in self.roots]
        heapq.heapify(roots)
        longest = -roots[0][0] if roots else 0.0
        goals = [longest - (longest - self.shortest_chain) * step / ALLOTMENTS for step in range(1, ALLOTMENTS)]
        found = [list(choice)]
        while roots:
            root = roots[0][1]
            place = self._cheapest_upgrade(root, choice, level)
            if place < 0:
                break
            choice[place] += 1
            self._bring_up(place, choice, level)
            while -roots[0][0] != level[roots[0][1]]:  # a task under several roots shortened all of them
                heapq.heapreplace(roots, (-level[roots[0][1]], roots[0][1]))
            if goals and -roots[0][0] <= goals[0]:
                goals = [goal for goal in goals if goal < -roots[0][0]]
                found.append(list(choice))
        return [*found, choice]

    def _cheapest_upgrade(self, root: int, choice: Choice, level: list[float]) -> int:
        """Of the longest chain under a root, the task where an hour less costs the fewest GPU-hours; -1 for none."""
        best, price = -1, float("inf")
        place = root
        while True:
            options, chosen = self.options[place], choice[place]
            if chosen + 1 < len(options):
                now, then = options[chosen], options[chosen + 1]
                asked = (then.gpu_hours - now.gpu_hours) / (now.hours - then.hours)
                best, price = (place, asked) if asked < price else (best, price)
            if not self.children[place]:
                return best
            place = max(self.children[place], key=level.__getitem__)

    def _bring_up(self, place: int, choice: Choice, level: list[float]) -> None:
        """Bring the levels up to date from a task to its roots."""
        changed = [place]
        while changed:
            place = changed.pop()
            below = max((level[child] for child in self.children[place]), default=0.0)
            level[place] = self.options[place][choice[place]].hours + below
            changed += self.parents[place]

    def best(self, choice: Choice) -> tuple[Schedule, Choice]:
        """The shorter of both schedules of an allotment."""
        made = (self.schedule(choice, fill_gaps=fill) for fill in (True, False))
        return min(made, key=lambda one: one.hours), choice

    def schedule(self, choice: Choice, *, fill_gaps: bool) -> Schedule:
        """List scheduling: at every end of a task, those that are ready start, on the longest remaining chain first."""
        level = self.levels(choice)
        pool = Pool(self.machine.nodes, self.machine.per_node)
        ready: dict[int, list[tuple[float, int]]] = {}  # by number of GPUs, each a heap

        def enter(place: int) -> None:
            gpus = self.options[place][choice[place]].gpus
            heapq.heappush(ready.setdefault(gpus, []), (-level[place], place))

        for place in self.roots:
            enter(place)
        waits = list(map(len, self.parents))
        placed: list[Placed] = []
        running: list[tuple[float, int, Placed]] = []
        now = 0.0
        while ready or running:
            while (gpus := _next(ready, pool, fill_gaps=fill_gaps)) > 0:
                _, place = heapq.heappop(ready[gpus])
                if not ready[gpus]:
                    del ready[gpus]
                option = self.options[place][choice[place]]
                one = Placed(self.tasks[place].id, gpus, now, now + option.hours, pool.take(gpus))
                placed.append(one)
                heapq.heappush(running, (one.end, place, one))
            now, place, one = heapq.heappop(running)
            pool.give(one.gpus, one.nodes)
            for child in self.children[place]:
                waits[child] -= 1
                if not waits[child]:
                    enter(child)
        return Schedule(tuple(placed))

    def shortened(self, schedule: Schedule, choice: Choice) -> list[tuple[Schedule, Choice]]:
        """Ever shorter ones: of the tasks that follow on each other up to its end, one gets more GPUs, or fewer."""
        found, work = [(schedule, choice)], WORK
        while True:
            now, chosen = found[-1]
            ways = [(place, chosen[place] + more) for place in self._last_tasks(now) for more in (1, -1)]
            ways = [(place, other) for place, other in ways if 0 <= other < len(self.options[place])]
            ways = ways[: work // len(self.tasks)]
            work -= len(ways) * len(self.tasks)
            tries = [self.best([*chosen[:place], other, *chosen[place + 1 :]]) for place, other in ways]
            best = min(tries, key=lambda one: one[0].hours, default=found[-1])
            if best[0].hours >= now.hours * (1 - SLACK):
                return found
            found.append(best)

    def _last_tasks(self, schedule: Schedule) -> list[int]:
        """The places of the task that ends last, of one whose end let it start, and so on up to the beginning."""
        places = {task.id: place for place, task in enumerate(self.tasks)}
        ending: dict[float, list[Placed]] = {}
        for one in schedule.placed:
            ending.setdefault(one.end, []).append(one)
        one, found = max(schedule.placed, key=lambda placed: placed.end), []
        while True:
            found.append(places[one.task])
            before = ending.get(one.start, [])
            if not before:
                return found
            parents = self.tasks[places[one.task]].parents
            one = max(before, key=lambda placed: (placed.task in parents, placed.gpus))

    def improved(self, front: Sequence[tuple[Schedule, Choice]]) -> list[tuple[Schedule, Choice]]:
        """Each schedule with cheaper options for tasks, as long as it ends no later; the front of all that come."""
        found, work = list(front), WORK
        for schedule, choice in front:
            gains = sorted(
                (place for place, chosen in enumerate(choice) if chosen),
                key=lambda place: self.options[place][0].gpu_hours - self.options[place][choice[place]].gpu_hours,
            )
            now, chosen = schedule, list(choice)
            for place in gains:
                for cheaper in range(chosen[place]):
                    if (work := work - len(self.tasks)) < 0:
                        return _front([*found, (now, chosen)])
                    tried = [*chosen[:place], cheaper, *chosen[place + 1 :]]
                    made, _ = self.best(tried)
                    if made.hours <= now.hours * (1 + SLACK):
                        now, chosen = made, tried
                        break
            found.append((now, chosen))
        return _front(found)


def _next(ready: Mapping[int, list[tuple[float, int]]], pool: Pool, *, fill_gaps: bool) -> int:
    """The number of GPUs of the ready task that starts next; 0 for none. Without filling gaps, none overtakes."""
    if not fill_gaps:
        first = min(ready, key=lambda gpus: ready[gpus][0], default=0)
        return first if first and pool.fits(first) else 0
    fitting = (gpus for gpus in ready if pool.fits(gpus))
    return min(fitting, key=lambda gpus: ready[gpus][0], default=0)


def _worthwhile(options: Sequence[Option]) -> list[Option]:
    """From the cheapest to the fastest, without those that another beats in both."""
    kept: list[Option] = []
    for one in sorted(options, key=lambda o: (o.gpu_hours, o.hours)):
        if not kept or one.hours < kept[-1].hours * (1 - SLACK):
            kept.append(one)
    return kept


def _front(schedules: Sequence[tuple[Schedule, Choice]]) -> list[tuple[Schedule, Choice]]:
    """From the fastest to the cheapest, without those that another beats in both."""
    kept: list[tuple[Schedule, Choice]] = []
    for one in sorted(schedules, key=lambda found: (found[0].hours, found[0].gpu_hours)):
        if not kept or one[0].gpu_hours < kept[-1][0].gpu_hours * (1 - SLACK):
            kept.append(one)
    return kept
