"""`sft-sweeps dashboard`: the views and the report on which a study is reviewed at Weights & Biases.

As JSON (`--json`, `"schema": 1`): `sweep`, `entity`, `project`, `written` (files), `pushed` (addresses; empty without
`--push`) and `notes` (what the server did not take).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, add_output_dir, add_sweep, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import write_text
from sft_sweeps.store import sharing
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import writing

SCHEMA = 1
FOLDER = "dashboard"
EXTRA = "wandb-workspaces is not installed; type: pip install 'sft-sweeps[dashboard]'"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_sweep(parser)
    add_output_dir(parser)
    add_json(parser)
    parser.add_argument("--out", metavar="DIR", help=f"folder for the files (default: {FOLDER}/ in the sweep's folder)")
    parser.add_argument("--project", help="W&B's project (default: the one that the sweep was launched with)")
    parser.add_argument("--entity", help="a user or team of W&B's (default: as launched, else the key's own)")
    parser.add_argument("--push", action="store_true", help="put them up, with the key of the environment")


def _run(options: argparse.Namespace) -> int:
    try:
        import wandb_workspaces  # noqa: F401
    except ImportError as error:
        raise RequestError(EXTRA) from error
    from sft_sweeps.report import board as boards
    from sft_sweeps.report import tracked
    from sft_sweeps.report.page import evidence
    from sft_sweeps.tracking import wandb
    from sft_sweeps.tracking.dashboard import files, push

    sweep = find(Store(options.output_dir), options.sweep)
    where = tracked.named(sweep, wandb.NAME, options.project or "", options.entity or "")
    found = evidence.read(sweep, options.output_dir)
    board = boards.board(found, where.entity, where.project)
    folder = Path(options.out) if options.out else sweep.folder / FOLDER
    texts = files.texts(board, boards.verdict(found))
    sharing.join(Path(options.output_dir))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(folder / name, text)
    written = [str(folder / name) for name in texts]
    pushed = push.push(board) if options.push else push.PutUp()
    of = {"sweep": sweep.name, "entity": board.entity, "project": board.project, "written": written}
    if options.json:
        print_json(SCHEMA, {**of, "pushed": list(pushed.addresses), "notes": list(pushed.notes)})
    else:
        _say(written, pushed.addresses, pushed.notes)
    return 0


def _say(written: Sequence[str], addresses: Sequence[str], notes: Sequence[str]) -> None:
    print(f"written: {', '.join(written)}")
    for address in addresses:
        print(f"put up: {address}")
    for note in notes:
        print(f"note: {note}")
    if not addresses:
        print("put up at Weights & Biases with --push")


ABOUT = """\
Written are the saved views Review and Live, a report with the findings, and the charts that they draw, as JSON which
needs no server: docs/tracking.md says what stands where. With --push they are put up, and what was put up before is
replaced. Launch with tracking=wandb for the runs that they show."""
COMMAND = Command(
    "dashboard",
    "the views and the report on which a study is reviewed at W&B",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps dashboard",
        "sft-sweeps dashboard SWEEP --out views",
        "sft-sweeps dashboard SWEEP --entity TEAM --push",
    ),
    topic="results",
)
