"""The plan on a terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sft_sweeps.errors import visible as visible_text
from sft_sweeps.plan import cost, serialize
from sft_sweeps.plan.build import Plan, State
from sft_sweeps.plan.labels import short_names
from sft_sweeps.plan.serialize import detectable_differences
from sft_sweeps.spec.training import Stage
from sft_sweeps.stats import ASSUMED_DISCORDANT
from sft_sweeps.terminal import COLORS, counted, duration, say, show_long

MORE = "all of them are in the file that plan.output=FILE names"
RIGHT = ("", "steps", "GPUs", "GPU-h", "runs", "CPU-s")  # columns of numbers


def show_plan(plan: Plan, states: Mapping[str, State], out: Console) -> None:
    """Runs, stages with state and why, totals and notes."""
    if plan.warning:
        say(out, f"[red]{escape(plan.warning)}[/]")
    number = {stage.id: str(n) for n, stage in enumerate(plan.stages, 1)}
    _show(counted(len(plan.runs), "run"), ("run", "model", "stages (parents first)"), _run_rows(plan, number), out)
    if plan.stages:
        header = ("", "id", "from", "mixture (examples)", "steps", "GPUs", "GPU-h", "runs", "state", "why")
        _show(counted(len(plan.stages), "stage"), header, _stage_rows(plan, states, number), out)
    if plan.merges:
        columns = ("id", "average of", "CPU-s", "state", "why")
        _show(counted(len(plan.merges), "merge"), columns, _merge_rows(plan, states, number), out)
    for line in (*totals(plan, states), *visible(plan), *claims(plan)):
        say(out, line)
    for note in plan.notes[bool(plan.warning) :]:
        say(out, f"[yellow]note[/] {escape(note)}")


def _show(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], out: Console) -> None:
    """A table; of many rows, plain lines."""
    if show_long(out, title, header, rows, MORE):
        return
    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, justify="right" if name in RIGHT else "left")
    for row in rows:
        styles = (COLORS.get(cell, "") if name == "state" else "" for name, cell in zip(header, row, strict=True))
        table.add_row(*map(Text, map(visible_text, row), styles))
    out.print(table)


def _run_rows(plan: Plan, number: Mapping[str, str]) -> list[tuple[str, ...]]:
    chains = ((", " if run.merge else " -> ").join(number[stage.id] for stage in run.stages) for run in plan.runs)
    chains = (f"the average of {text}" if run.merge else text for run, text in zip(plan.runs, chains, strict=True))
    return [(run.label, run.model.name, c or "none: the base model") for run, c in zip(plan.runs, chains, strict=True)]


def _stage_rows(plan: Plan, states: Mapping[str, State], number: Mapping[str, str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for stage in plan.stages:
        state = states.get(stage.id, State("missing"))
        parent = number.get(stage.parent.id, stage.model.name)
        mixture = mixture_text(stage) + plan.labels[stage.id].removeprefix(stage.label)
        hours = f"{cost.gpu_hours(stage):,.1f}" if stage.model.gpus else "-"
        size = (f"{stage.steps:,}", str(stage.model.gpus), hours, str(len(plan.runs_through(stage))))
        rows.append((number[stage.id], stage.id, parent, mixture, *size, state.state, state.why))
    return rows


def _merge_rows(plan: Plan, states: Mapping[str, State], number: Mapping[str, str]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for merge in plan.merges:
        state = states.get(merge.id, State("missing"))
        shares = sorted(merge.shares, key=lambda share: int(number[share[0].id]))
        parts = (f"{'' if merge.equal else f'{weight} of '}{number[stage.id]}" for stage, weight in shares)
        seconds = f"{cost.merge_seconds(merge):,.1f}"
        rows.append((merge.id, ", ".join(parts), seconds, state.state, state.why))
    return rows


def mixture_text(stage: Stage) -> str:
    """`math 1/4 x2 (27,535) + general (86,060)`; a count that no file has confirmed is marked with ~."""
    parts, names = [], short_names(stage.mixture.components)
    for c in stage.mixture.components:
        share = "" if c.fraction == 1 else f" {c.fraction}"
        share += f" x{c.repeat}" if c.repeat > 1 else ""
        share += f" weight {c.weight}" if c.weight != 1 else ""
        guess = "~" if c.source.rows_from == "declared" else ""
        parts.append(f"{names[c.source.name]}{share} ({guess}{c.examples:,})")
    return " + ".join(parts)


def visible(plan: Plan) -> list[str]:
    """What differences each benchmark can show, and whether training seeds are among what is measured."""
    least = detectable_differences(plan)
    if not least:
        return []
    seeds = {stage.recipe.seed for stage in plan.stages}
    noise = (
        f"{len(seeds)} training seeds" if len(seeds) > 1 else "one training seed, so item noise only: train.seed=0,1,2"
    )
    each = ", ".join(
        f"{name} ({items:,} items) {f'{100 * value:.1f} points' if share else f'{value:.2f}'}"
        for name, (items, value, share) in least.items()
    )
    return [
        f"smallest difference between two runs that shows (80 % power at 5 %, if {ASSUMED_DISCORDANT:.0%} of the items "
        f"are discordant): {each}; {noise}"
    ]


def claims(plan: Plan) -> list[str]:
    """How much is said in advance; every other comparison is exploratory."""
    if not plan.hypotheses:
        return []
    count, compared = len(plan.hypotheses), sum(len(one.pairs) for one in plan.hypotheses)
    hypotheses = f"{count} hypothes{'is' if count == 1 else 'es'}"
    return [f"said in advance, frozen with the plan: {hypotheses}, {counted(compared, 'comparison')}"]


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _gigabytes(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.2g}"


def totals(plan: Plan, states: Mapping[str, State]) -> list[str]:
    """What sharing saves and what is left to do."""
    t = serialize.totals(plan, states)
    lines = [
        f"{counted(t['runs'], 'row')}, {counted(t['distinct_runs'], 'distinct run')}; "
        f"{counted(t['stages_naive'], 'stage')} if each run trained its own, {t['stages']} distinct: "
        f"{t['stages_done']} done, {t['stages_to_run']} to run"
    ]
    if t["gpu_hours"]:
        lines.append(
            f"about {_hours(t['gpu_hours'])} A100-hours (naive {_hours(t['gpu_hours_naive'])}; 6ND at "
            f"{cost.ASSUMED_UTILIZATION:.0%} of peak), {_gigabytes(t['disk_gb'])} GB of finished models"
        )
    if plan.merges:
        seconds = sum(map(cost.merge_seconds, plan.merges))
        merges = f"{counted(len(plan.merges), 'merge')}, {t['merges_done']} done"
        took = f"about {duration(seconds)}" if seconds >= 1 else "under a second"
        lines.append(f"{merges}: {took} of a CPU in all, no GPU")
    if any(c.source.rows_from == "declared" for s in plan.stages for c in s.mixture.components):
        lines.append("~ is the count that conf/source declares; the file itself was not counted")
    if plan.analyses:
        lines.append(_analyses(plan, states))
    provisional = [stage for stage in plan.stages if stage.provisional]
    if provisional:
        lines.append(
            f"{counted(len(provisional), 'stage')} provisional: their data or weights are neither pinned nor present"
        )
    return lines


def _analyses(plan: Plan, states: Mapping[str, State]) -> str:
    """Of how many models representations are taken, of what, and how far that is."""
    subjects = {one.subject.id for one in plan.analyses}
    done = subjects - {one.subject.id for one in plan.analyses if states.get(one.id, State("missing")).state != "done"}
    sources = list(dict.fromkeys(one.queries.source.name for one in plan.analyses))
    where = sorted({f"layer {one.layer} ({one.pooling})" for one in plan.analyses})
    hours = sum(map(cost.representation_gpu_hours, plan.analyses))
    return (
        f"representations of {counted(len(subjects), 'model')} at {', '.join(where)}: "
        f"{plan.analyses[0].queries.examples} queries of each of {', '.join(sources)}; {len(done)} done, "
        f"{len(subjects) - len(done)} to take{f', about {hours:,.2f} A100-hours' if hours else ''}"
    )
