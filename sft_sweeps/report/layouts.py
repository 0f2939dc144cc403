"""Which tables a study has: laid out as the paper's are, ours beside theirs, and one of each finding beyond them.

Strategies are its Tables 1 and 5, single and mixed its Tables 2 and 3, ratios its Table 4, ablation its Table 6. The
best of a column is bold and the second underlined only where the next one is worse beyond noise: where the 95 %
interval of the difference, paired by item where items are known, does not hold 0.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sft_sweeps.analysis import series
from sft_sweeps.analysis.categories import arm_name
from sft_sweeps.analysis.cells import Cell, minus
from sft_sweeps.analysis.observations import Setting, grouped, row
from sft_sweeps.analysis.series import Panel
from sft_sweeps.report.figures.charts import DAGGER, noted
from sft_sweeps.report.sheets import Entry, Mark, Sheet
from sft_sweeps.stats import Interval

NOTE = (
    "Shares in percent, with half the width of their 95 % interval; of several training seeds, mean and interval over "
    f"seeds and items. In parentheses what the paper prints ({DAGGER}: on no grid of k/n, copied, of 165 items, or "
    "contradicted elsewhere). Bold (underlined): best (second) of a column where the next is worse beyond noise."
)
Column = tuple[str, Panel]  # model and panel
Placed = dict[str, dict[Column, list[Cell]]]  # by row and column


@dataclass(frozen=True, slots=True)
class Layout:
    """Which row a cell stands in, None in none; rows of one `block` are kept together."""

    name: str
    caption: str
    row: Callable[[Cell], str | None]
    block: Callable[[str], str] = lambda _: ""
    least: int = 2  # rows


def sheets(cells: Sequence[Cell]) -> list[Sheet]:
    """All tables of scores; what a study has too few rows of is left out."""
    made = [_pivot(layout, cells) for layout in LAYOUTS]
    return [sheet for sheet in [every_score(cells), *made] if sheet]


def _strategy(cell: Cell) -> str | None:
    """Strategies on whole sources, an ability alone, a base model."""
    setting = cell.setting
    return arm_name(setting) if setting.fraction == 1 or not setting.parts else None


def _single_or_mixed(cell: Cell) -> str | None:
    """A benchmark's ability alone, or in a mixture of equal fractions."""
    setting = cell.setting
    if setting.fraction is None or setting.arm not in ("alone", series.MIXED):
        return None
    if setting.arm == "alone":
        return f"alone {setting.fraction}" if cell.first.ability in setting.abilities else None
    return f"mixed {setting.fraction}"


def _ratio(cell: Cell) -> str | None:
    """`code, math 1; general 1/64`: each fraction once, with the abilities that have it."""
    setting = cell.setting
    if setting.arm != series.MIXED:
        return None
    by_fraction = grouped(setting.parts, lambda part: part.fraction)
    return "; ".join(f"{', '.join(dict.fromkeys(p.ability for p in of))} {at}" for at, of in by_fraction.items())


def _mixture(cell: Cell) -> str | None:
    """The sources, and the fraction of all."""
    setting = cell.setting
    if setting.arm != series.MIXED or setting.fraction is None:
        return None
    return f"{_sources(setting)} {setting.fraction}"


def _sources(setting: Setting) -> str:
    return " + ".join(series.sources(setting))


LAYOUTS = (
    Layout("strategies", "Strategies and each ability alone, on whole sources.", _strategy),
    Layout("single_and_mixed", "Each ability alone and in a mixture.", _single_or_mixed, lambda row: row.split()[0]),
    Layout("ratios", "Mixtures by the fractions of their abilities.", _ratio, least=3),
    Layout("ablation", "Mixtures by their sources.", _mixture, lambda row: row.rpartition(" ")[0]),
)


def _pivot(layout: Layout, cells: Sequence[Cell]) -> Sheet | None:
    """Rows by columns of model and benchmark."""
    placed, columns = _placed(layout, cells)
    if len(placed) < layout.least or not columns:
        return None
    marks = {column: _marks(placed, column) for column in columns}
    rows = {
        name: (Entry(name), *(_entry(of.get(column, ()), marks[column].get(name, "")) for column in columns))
        for name, of in placed.items()
    }
    blocks = grouped(rows, layout.block)
    by_model = grouped(columns, lambda column: column[0])
    return Sheet(
        name=layout.name,
        caption=f"{layout.caption} {NOTE}",
        groups=(("", 1), *((model, len(of)) for model, of in by_model.items())),
        columns=("", *(f"{panel.title} ({panel.metric})" for _, panel in columns)),
        blocks=tuple(tuple(rows[name] for name in of) for of in blocks.values()),
        records=tuple(_records(placed)),
    )


def _placed(layout: Layout, cells: Sequence[Cell]) -> tuple[Placed, list[Column]]:
    """Where each cell stands. Of two settings of ours in one place, rows name their sources: no cell mixes them."""
    of_panel, of_model = series.panels(cells), series.models(cells)
    at = {cell: (name, (of_model[cell], of_panel[cell])) for cell in cells if (name := layout.row(cell)) is not None}
    shared = {place[0] for place, of in grouped(at, at.__getitem__).items() if len(_ours(of)) > 1}
    placed: Placed = {}
    for cell, (name, column) in at.items():
        row = f"{name} ({_sources(cell.setting)})" if name in shared else name
        placed.setdefault(row, {}).setdefault(column, []).append(cell)
    if any(cell.first.origin == "ours" for cell in cells):
        placed = {name: kept for name, of in placed.items() if (kept := _beside_ours(of))}
    columns = {column: of[column][0].setting.parameters for of in placed.values() for column in of}
    return placed, sorted(columns, key=lambda column: (columns[column], column[0], column[1].title))


def _beside_ours(of: dict[Column, list[Cell]]) -> dict[Column, list[Cell]]:
    """A row without a paper's values of other sources than ours; empty where none is ours."""
    known = {series.sources(cell.setting) for cells in of.values() for cell in _ours(cells)}
    kept = {column: [c for c in cells if series.sources(c.setting) in known] for column, cells in of.items()}
    return {column: cells for column, cells in kept.items() if cells}


def _ours(cells: Iterable[Cell]) -> list[Cell]:
    return [cell for cell in cells if cell.first.origin == "ours"]


def _marks(placed: Placed, column: Column) -> dict[str, Mark]:
    """Best and second of a column, each where it is beyond noise better than the next."""
    first = {name: (_ours(of[column]) or of[column])[0] for name, of in placed.items() if column in of}
    better = 1.0 if all(cell.first.higher_is_better for cell in first.values()) else -1.0
    ranked = sorted(first, key=lambda name: better * first[name].value, reverse=True)
    marks: dict[str, Mark] = {}
    for name, following, mark in zip(ranked, ranked[1:], ("best", "second"), strict=False):
        if _apart(minus(first[name], first[following])):
            marks[name] = "best" if mark == "best" else "second"
    return marks


def _apart(difference: Interval) -> bool:
    return difference.low > 0 or difference.high < 0


def _entry(cells: Sequence[Cell], mark: Mark = "") -> Entry:
    """Ours with half its interval's width, the paper's in parentheses; each alone where the other is not there."""
    ours = "; ".join(_text(cell) for cell in _ours(cells))
    theirs = "/".join(_printed(cell) for cell in cells if cell.first.origin == "paper")
    both = f"{ours} ({theirs})" if ours and theirs else ours or (f"({theirs})" if theirs else "–")
    return Entry(both, mark)


def _text(cell: Cell) -> str:
    half = cell.scale * (cell.high - cell.low) / 2
    return f"{cell.scale * cell.value:.{_digits(cell)}f} ± {half:.{_digits(cell)}f}"


def _digits(cell: Cell) -> int:
    return 1 if cell.first.share else 3 if cell.first.metric == "loss" else 2


def _printed(cell: Cell) -> str:
    return cell.first.printed + (DAGGER if noted(cell.first.flags) else "")


def _records(placed: Placed) -> Iterable[dict[str, Any]]:
    """A line for each cell, the paper's too."""
    for name, of in placed.items():
        for (model, _), cells in of.items():
            for cell in cells:
                yield {"row": name, "column": model, **numbers(cell)}


def numbers(cell: Cell) -> dict[str, Any]:
    """A cell's own line: where it stands, its mean over seeds, and how sure that is."""
    first = cell.first
    kept = ("origin", "model", "strategy", "k", "fractions", "examples", "benchmark", "protocol", "metric")
    flat = row(first)
    return {
        **{key: flat[key] for key in kept},
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "n": first.n,
        "seeds": len(cell.observations),
        "sd": cell.sd,
        "printed": first.printed,
        "flags": " ".join(first.flags),
    }


def every_score(cells: Sequence[Cell]) -> Sheet | None:
    """Each run's, with whole intervals, in a block for each model."""
    listed = _ours(cells) or list(cells)
    if not listed:
        return None
    of_panel, of_model = series.panels(listed), series.models(listed)
    panels = list(dict.fromkeys(of_panel.values()))
    by_setting = grouped(listed, lambda cell: (of_model[cell], cell.setting))
    rows: dict[str, list[tuple[Entry, ...]]] = {}
    for (model, _), of in by_setting.items():
        here = grouped(of, of_panel.__getitem__)
        scores = (Entry("; ".join(map(_ends, here[panel])) if panel in here else "–") for panel in panels)
        rows.setdefault(model, []).append((Entry(of[0].label), *scores))
    return Sheet(
        name="scores",
        caption="All scores; shares in percent, with their 95 % interval.",
        groups=(("", 1 + len(panels)),),
        columns=("run", *(f"{panel.title} ({panel.metric})" for panel in panels)),
        blocks=tuple(map(tuple, rows.values())),
        records=tuple({"run": cell.label, **numbers(cell)} for cell in listed),
    )


def _ends(cell: Cell) -> str:
    value, low, high = (f"{cell.scale * number:.{_digits(cell)}f}" for number in (cell.value, cell.low, cell.high))
    return f"{value} [{low}–{high}]"
