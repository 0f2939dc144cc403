"""The report at W&B: the page's findings in its words, with charts that stay live."""

from collections.abc import Iterator
from typing import Any

from sft_sweeps.tracking import layout
from sft_sweeps.tracking.dashboard import panels
from sft_sweeps.tracking.dashboard.board import Board

LONGEST_TITLE = 128
HALF, HEIGHT = 12, 9  # of the grid's 24 columns


def article(board: Board, known: bool = False) -> Any:
    """The report. With `known`, its runs are asked for at the server, which must have the project."""
    import wandb_workspaces.reports.v2 as wr

    title = layout.cut(f"{board.title}: what came out", LONGEST_TITLE)
    blocks = [*_text(board), *_charts(board, known), *_rest(board)]
    report = wr.Report(
        project=board.project,
        entity=board.entity,
        title=title,
        description=board.question,
        blocks=blocks,
        width="fixed",
    )
    found = report._to_model()
    for block in found.spec.blocks:
        for runs in block.metadata.run_sets if block.type == "panel-grid" else ():
            runs.filters = panels.of_sweep(runs.filters, board)
    return found


def _text(board: Board) -> Iterator[Any]:
    """What was found, first of all."""
    import wandb_workspaces.reports.v2 as wr

    words = board.words
    yield wr.H2(words.headline)
    yield wr.P(words.basis)
    if board.question:
        yield wr.BlockQuote(board.question)
    if words.claims:
        yield wr.H3("What was claimed in advance")
        yield wr.UnorderedList([f"{outcome}: {said}" for outcome, said in words.claims])
    if words.notes:
        yield wr.H3("Not claimed in advance")
        yield wr.UnorderedList(list(words.notes))


def _charts(board: Board, known: bool) -> Iterator[Any]:
    """A section of panels for each question that one asks of the numbers."""
    import wandb_workspaces.reports.v2 as wr

    sections = {
        "Scores over the fraction of data": ("report", [panels.verdict(board, one) for one in board.asked]),
        "One ability against another": ("report", [panels.trade_off(board, x, y) for x, y in board.pairs]),
        "Scores over examples": ("score", [panels.scaling(board, one) for one in board.asked]),
        "What later stages took": ("score", [panels.forgetting(one)[0] for one in board.asked]),
    }
    for title, (job_type, of) in sections.items():
        if of:
            for number, panel in enumerate(panels.marked(board, "report", title, of)):
                panel.layout = wr.Layout(x=number % 2 * HALF, y=number // 2 * HEIGHT, w=HALF, h=HEIGHT)
            yield wr.H3(title)
            yield wr.PanelGrid(runsets=[_runs(board, job_type, title, known)], panels=of)


def _runs(board: Board, job_type: str, title: str, known: bool) -> Any:
    """The sweep's runs of a type. Without a project a set of runs is the report's own project's."""
    import wandb_workspaces.reports.v2 as wr

    where = {"entity": board.entity, "project": board.project} if known else {}
    finished = "" if job_type == "report" else " and State = 'finished'"
    found = wr.Runset(
        name=f"{job_type} runs of {board.sweep}",
        filters=f"{panels.GROUP} and JobType = '{job_type}'{finished}",
        **where,
    )
    found._id = board.mark("report", title, "runs")
    return found


def _rest(board: Board) -> Iterator[Any]:
    """What it cost, what is missing, how to make it again."""
    import wandb_workspaces.reports.v2 as wr

    words = board.words
    if words.costs:
        yield wr.H3("Cost, planned and taken")
        yield wr.MarkdownBlock(panels.markdown(words.costs))
    if words.missing:
        yield wr.H3("Missing")
        yield wr.UnorderedList(list(words.missing))
    if words.commands:
        yield wr.H3("To make it again")
        yield wr.MarkdownBlock("\n".join(["```bash", *words.commands, "```"]))


def spec(report: Any) -> panels.Spec:
    """As JSON holds it: what says when and by whom is the server's."""
    of_ours = ("displayName", "description", "project", "spec")
    return {key: value for key, value in panels.spec(report).items() if key in of_ours}
