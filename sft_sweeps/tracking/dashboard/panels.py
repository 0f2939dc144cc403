"""The panels that views and report share, over layout.py's names. wandb-workspaces is imported where one is made."""

from typing import Any

from sft_sweeps.tracking import layout
from sft_sweeps.tracking.dashboard import charts
from sft_sweeps.tracking.dashboard.board import Asked, Board

Spec = dict[str, Any]
HISTORY = (
    ("loss", "Training loss, nats per token", False),
    ("grad_norm", "Gradient norm", True),
    ("learning_rate", "Learning rate", False),
    ("tokens_per_second", "Tokens a second", False),
)
BY_SOURCE = (
    ("loss_by_source", "Loss of each source, nats per supervised token"),
    ("heldout_loss_by_source", "Loss of held-out examples of each source, nats per supervised token"),
    ("supervised_by_source", "Supervised tokens of each source, a step"),
)
# The runs of one sweep, in a filter's text. The library changes some names in such a text (`=`, quotes), so that the
# sweep's own is put in afterwards.
GROUP = "Group = 'SWEEP'"


def marked(board: Board, view: str, title: str, of: list[Any]) -> list[Any]:
    """The panels of a section, each with an id of its own, which stays."""
    for number, panel in enumerate(of):
        panel._id = board.mark(view, title, number)
    return of


def spec(model: Any) -> Spec:
    """A view or a report of the library's as JSON holds it."""
    found: Spec = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def of_sweep(filters: Any, board: Board) -> Any:
    """Filters with the sweep's name in the place of GROUP's."""
    if isinstance(filters, list):
        return [of_sweep(one, board) for one in filters]
    if not isinstance(filters, dict):
        return filters
    if filters.get("key", {}).get("name") == "group":
        return filters | {"value": board.sweep}
    return {key: of_sweep(value, board) for key, value in filters.items()}


def axis(name: str) -> Any:
    """An axis of the grid, as a panel reads it."""
    import wandb_workspaces.reports.v2 as wr

    return wr.Config(f"{layout.STUDY}.{name}")


def measure(asked: Asked, name: str) -> Any:
    """A number of a score run."""
    import wandb_workspaces.reports.v2 as wr

    return wr.SummaryMetric(layout.metric(asked.name, name))


def verdict(board: Board, asked: Asked) -> Any:
    """Scores over the fraction of data."""
    subtitle = f"the shape tells whether it differs beyond noise; {board.sweep}"
    texts = {"title": asked.title, "subtitle": subtitle, "benchmark": layout.slug(asked.name)}
    return _custom(board, charts.VERDICT, texts | {"unit": f"{asked.title}, {asked.unit}"})


def trade_off(board: Board, x: Asked, y: Asked) -> Any:
    """One benchmark against another."""
    texts = {"title": f"{x.title} against {y.title}", "x": layout.slug(x.name), "y": layout.slug(y.name)}
    titles = {"x_title": f"{x.title}, {x.unit}", "y_title": f"{y.title}, {y.unit}"}
    return _custom(board, charts.TRADE_OFF, texts | titles)


def _custom(board: Board, chart: str, texts: dict[str, str]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    return wr.CustomChart(
        query={"summaryTable": {"tableKey": charts.TABLE}},
        chart_name=f"{board.entity}/{charts.preset(chart)}",
        chart_fields={column: column for column in charts.COLUMNS if f"${{field:{column}}}" in charts.text(chart)},
        chart_strings=texts,
    )


def scaling(board: Board, asked: Asked) -> Any:
    """A score over the examples of its ability; over all examples where no source is of it."""
    import wandb_workspaces.reports.v2 as wr

    own = asked.ability in board.abilities
    return wr.ScatterPlot(
        title=f"{asked.title} over examples{f' of {asked.ability}' if own else ''}",
        x=axis(f"examples_{asked.ability}" if own else "examples"),
        y=measure(asked, "score"),
        log_x=True,
    )


def against(x: Asked, y: Asked) -> Any:
    """The same as `trade_off`, a run a point: a click leads to it."""
    import wandb_workspaces.reports.v2 as wr

    return wr.ScatterPlot(title=f"{x.title} against {y.title}, by run", x=measure(x, "score"), y=measure(y, "score"))


def parallel(board: Board) -> Any:
    """From what was chosen to what came out."""
    import wandb_workspaces.reports.v2 as wr

    chosen = [("model", "model"), ("strategy", "strategy"), ("k", "k")]
    columns = [wr.ParallelCoordinatesPlotColumn(axis(name), display_name=title) for name, title in chosen]
    scores = [wr.ParallelCoordinatesPlotColumn(measure(one, "score"), display_name=one.title) for one in board.asked]
    return wr.ParallelCoordinatesPlot(title="Model, strategy, k, scores", columns=columns + scores)


def forgetting(asked: Asked) -> list[Any]:
    """What later stages took: by strategy, and by k."""
    import wandb_workspaces.reports.v2 as wr

    return [
        wr.BarPlot(
            title=f"{asked.title}, by {by}: what later stages took (negative is forgetting)",
            metrics=[layout.metric(asked.name, "forgetting")],
            groupby=axis(by),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
        for by in ("strategy", "k")
    ]


def curves() -> list[Any]:
    """How training went, over its steps; utilization over the supervised tokens that were trained on."""
    import wandb_workspaces.reports.v2 as wr

    plots = [
        wr.LinePlot(title=title, x=layout.STEP, y=[layout.TRAIN + name], log_y=log or None, title_x="step")
        for name, title, log in HISTORY
    ]
    by_source = [
        wr.LinePlot(title=title, x=layout.STEP, y=[], metric_regex=f"{layout.TRAIN}{name}/.*", title_x="step")
        for name, title in BY_SOURCE
    ]
    mfu = wr.LinePlot(
        title="Model FLOPs utilization",
        x=layout.SUPERVISED_SEEN,
        y=[f"{layout.TRAIN}mfu"],
        title_x="supervised tokens trained on",
    )
    return [plots[0], *by_source, *plots[1:], mfu]


def cost(board: Board) -> list[Any]:
    """What was planned against what it took."""
    import wandb_workspaces.reports.v2 as wr

    scatter = wr.ScatterPlot(
        title="GPU-hours: planned (across) against taken (up)",
        x=wr.SummaryMetric(layout.GPU_HOURS_PLANNED),
        y=wr.SummaryMetric(layout.GPU_HOURS),
    )
    bars = wr.BarPlot(
        title="GPU-hours of a run, planned and taken",
        metrics=[layout.GPU_HOURS_PLANNED, layout.GPU_HOURS],
        groupby=axis("model"),
        groupby_aggfunc="mean",
    )
    table = [wr.MarkdownPanel(markdown=markdown(board.words.costs))] if board.words.costs else []
    return [*table, scatter, bars]


def samples(board: Board) -> list[Any]:
    """What differs between runs that are chosen, and answers, wrong ones first."""
    import wandb_workspaces.reports.v2 as wr

    tables = [wr.WeavePanelSummaryTable(table_name=layout.samples(one.name)) for one in board.asked]
    return [wr.RunComparer(diff_only="split"), *tables]


def markdown(rows: Any) -> str:
    """A table whose first row is its header."""
    lines = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
