"""From what a sweep has to what its views at a tracker show: benchmarks, axes, findings in words, the verdict."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from sft_sweeps.analysis.categories import arm_name
from sft_sweeps.analysis.cells import Cell, Compared
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan, Run
from sft_sweeps.report.observe import setting_of
from sft_sweeps.report.page import charts, costs, findings, text
from sft_sweeps.report.page.evidence import Evidence
from sft_sweeps.store.sweeps import name_with_key
from sft_sweeps.terminal import LAUNCH
from sft_sweeps.tracking import layout
from sft_sweeps.tracking.base import Table
from sft_sweeps.tracking.dashboard.board import Asked, Board, Words
from sft_sweeps.tracking.dashboard.charts import COLUMNS

Value = str | int | float | None
FEW = 12  # differences that no claim names, of which a report tells those beyond noise
REFERENCE, BEYOND, WITHIN, APART = "the reference", "beyond noise", "within noise", "not compared"


def board(sweep: Evidence, entity: str, project: str) -> Board:
    """A sweep's, for a project of the tracker."""
    plan = sweep.plan
    return Board(
        entity=entity,
        project=project,
        sweep=sweep.results.sweep,
        title=name_with_key(sweep.results.sweep),
        question=sweep.results.question,
        asked=tuple(_asked(sweep)),
        abilities=tuple(plan.abilities),
        words=_words(sweep),
        reference=_baseline(plan, sweep.results.sweep),
    )


def _asked(sweep: Evidence) -> Iterator[Asked]:
    """The benchmarks in the plan's order, each once."""
    roles = {c.source.ability: c.source.role for stage in sweep.plan.stages for c in stage.mixture.components}
    seen = {one.benchmark: one for one in sweep.observations}
    benchmarks = {generation.benchmark.name: generation.benchmark for generation in sweep.plan.generations}
    for name, benchmark in benchmarks.items():
        ability = benchmark.ability or (benchmark.source.ability if benchmark.source else "")
        found = seen.get(name)
        unit = "score" if found is None else "%" if found.share else found.metric
        yield Asked(name, text.title(name), ability, unit, roles.get(ability) == "specialized")


def _baseline(plan: Plan, sweep: str) -> str:
    """The score run of the multi-task run of most sources, parameters and examples; "" where nothing is mixed so."""
    wide = [run for run in plan.runs if setting_of(run).arm == "multi_task"]
    found = max(wide, key=_width, default=None)
    return layout.run_id("score", found.id, sweep) if found else ""


def _width(run: Run) -> tuple[int, int, int]:
    setting = setting_of(run)
    return len(setting.parts), cost.parameters(run.model.shape), setting.examples


def _words(sweep: Evidence) -> Words:
    found = findings.findings([sweep])
    sure = [pair for pair in found.exploratory if pair.sure]
    differences = ([pair for pair in sure if findings.on_its_own_ability(pair)] or sure)[:FEW]
    notes = [
        f"{name}: {_said(pair)}" for name, pair in zip(charts.difference_names(differences), differences, strict=True)
    ]
    rows = costs.rows(sweep)
    return Words(
        headline=found.headline,
        basis=found.basis,
        claims=[(claim.outcome, findings.sentence(claim)) for claim in found.claims],
        notes=notes,
        costs=[costs.HEADER, *rows] if rows else [],
        missing=sweep.results.missing,
        commands=[f"{LAUNCH} -m {line}" for line in costs.command(sweep.points)],
    )


def _said(pair: Compared) -> str:
    return f"{text.difference(pair.ours.first, pair.difference)} ({findings.basis(pair)})"


def verdict(sweep: Evidence) -> Table:
    """The table that the report run's charts draw: a row for each setting and benchmark, replicates in one.

    `fraction` is that of the sources of the benchmark's ability; of an ability that no run trains, the one that all
    sources share. Where it is none, the chart over fractions leaves the row out. Scores are as tables show them.
    """
    ends = sweep.cells
    trained = {ability for cell in ends for ability in cell.setting.abilities}
    pairs = {id(pair.ours): pair for pair in sweep.compared}
    references = {id(pair.theirs) for pair in pairs.values()}
    return Table(COLUMNS, tuple(_row(cell, trained, pairs.get(id(cell)), id(cell) in references) for cell in ends))


def _row(cell: Cell, trained: AbstractSet[str], pair: Compared | None, reference: bool) -> tuple[Value, ...]:
    setting, like = cell.setting, cell.first
    k = layout.NONE if setting.k is None else str(setting.k)
    of = pair.difference if pair else None
    numbers = (cell.value, cell.low, cell.high, *((of.value, of.low, of.high) if of else (None, None, None)))
    return (
        layout.slug(like.benchmark),
        cell.label,
        setting.model,
        setting.arm,
        k,
        arm_name(setting),
        _fraction(cell, trained),
        setting.examples,
        *(None if number is None else round(text.scaled(like, number), 4) for number in numbers),
        REFERENCE if reference else APART if pair is None else BEYOND if pair.sure else WITHIN,
    )


def _fraction(cell: Cell, trained: AbstractSet[str]) -> float | None:
    ability = cell.first.ability
    found = cell.setting.fraction_of(ability) if ability in trained else cell.setting.fraction
    return None if found is None else float(found)
