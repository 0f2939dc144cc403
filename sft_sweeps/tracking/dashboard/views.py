"""The two saved views of a study at W&B: *Review*, of what is finished, and *Live*, of what runs.

All panels of a view draw from its one set of runs. So *Review* has score runs, the report run, whose table the verdict
is drawn from, and training runs, whose curves tell whether a score can be trusted; grouped by model and strategy, means
are of those that have the number.
"""

import unicodedata
from collections.abc import Mapping
from typing import Any

from sft_sweeps.tracking import layout
from sft_sweeps.tracking.dashboard import panels
from sft_sweeps.tracking.dashboard.board import LIVE, REVIEW, Board

SHOWN = ("score", "report", "train")
SMALL, WIDE = (3, 2), (2, 1)  # columns and rows of a section


def review(board: Board) -> Any:
    """The finished runs of a sweep, from the verdict down to single answers."""
    from wandb_workspaces import workspaces as ws

    sections = {
        "Verdict": ([panels.verdict(board, one) for one in board.asked], WIDE),
        "Scaling": ([panels.scaling(board, one) for one in board.asked], SMALL),
        "Trade-off": (_trade_off(board), WIDE),
        "Forgetting": ([panel for one in board.asked for panel in panels.forgetting(one)], SMALL),
        "Health": (panels.curves(), SMALL),
        "Cost": (panels.cost(board), SMALL),
        "Samples": (panels.samples(board), (1, 2)),
    }
    runs = ws.RunsetSettings(
        filters=f"State = 'finished' and JobType in {list(SHOWN)} and (JobType = 'train' or {panels.GROUP})",
        groupby=[_config("model"), _config("strategy")],
        pinned_columns=_columns(board),
        baseline_run=board.reference or None,
    )
    return _view(board, REVIEW, sections, runs)


def live(board: Board) -> Any:
    """What runs now, by sweep."""
    from wandb_workspaces import expr
    from wandb_workspaces import workspaces as ws

    runs = ws.RunsetSettings(
        filters="State = 'running'",
        groupby=[expr.Metric("Group"), expr.Metric("JobType")],
        pinned_columns=["run:displayName", *(f"config:{layout.STUDY}.value.{name}" for name in ("model", "strategy"))],
    )
    return _view(board, LIVE, {"Training": (panels.curves(), SMALL)}, runs)


def _trade_off(board: Board) -> list[Any]:
    if not board.pairs:
        return []
    pairs = [panel for x, y in board.pairs for panel in (panels.trade_off(board, x, y), panels.against(x, y))]
    return [*pairs, panels.parallel(board)]


def _config(name: str) -> Any:
    from wandb_workspaces import expr

    return expr.Config(f"{layout.STUDY}.{name}")


def _columns(board: Board) -> list[str]:
    """Pinned: what one reads first."""
    measures = [layout.metric(one.name, name) for one in board.asked for name in ("score", "difference", "forgetting")]
    return [
        "run:displayName",
        f"config:{layout.STUDY}.value.k",
        *(f"summary:{name}" for name in (*measures, layout.GPU_HOURS)),
    ]


def _view(board: Board, name: str, sections: Mapping[str, tuple[list[Any], tuple[int, int]]], runs: Any) -> Any:
    from wandb_workspaces import workspaces as ws

    made = []
    for title, (of, (columns, rows)) in sections.items():
        if of:
            shape = ws.SectionLayoutSettings(columns=columns, rows=rows)
            drawn = panels.marked(board, name, title, of)
            made.append(ws.Section(name=title, panels=drawn, is_open=True, layout_settings=shape))
    view = ws.Workspace(
        entity=board.entity,
        project=board.project,
        name=_plain(f"{name}: {board.title}" if name == REVIEW else name),
        sections=made,
        settings=ws.WorkspaceSettings(x_axis=layout.STEP, max_runs=100),
        runset_settings=runs,
    )
    view._internal_name = f"nw-{board.mark(name)}-v"
    view._internal_runset_id = board.mark(name, "runs")
    return _finished(view._to_model(), board)


def _plain(name: str) -> str:
    """A name without symbols, which the library refuses, `+` and `=` among them."""
    return "".join("-" if unicodedata.category(letter).startswith("S") else letter for letter in name)


def _finished(found: Any, board: Board) -> Any:
    """Curves are drawn one by one: a mean of training runs tells nothing of the sick one."""
    for section in found.spec.section.panel_bank_config.sections:
        if section.name in ("Health", "Training"):
            section.local_panel_settings.use_runs_table_grouping_in_panels = False
    for runs in found.spec.section.run_sets:
        runs.filters = panels.of_sweep(runs.filters, board)
    return found
