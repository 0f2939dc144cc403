"""`sft-sweeps report`: the table of a sweep's scores, printed and written as files."""

import argparse
import json
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, add_output_dir
from sft_sweeps.store import sharing
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import find
from sft_sweeps.terminal import console, writing


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="?", help="part of a sweep's name (default: the newest)")
    add_output_dir(parser)
    add_json(parser)
    parser.add_argument("--out", help="folder for the files (default: report/ in the sweep's folder)")


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.report import tables
    from sft_sweeps.report.collect import collect, to_json

    sweep = find(Store(options.output_dir), options.sweep)
    results = collect(sweep.plan(), sweep.store(options.output_dir), sweep.name, sweep.question)
    sharing.join(Path(options.output_dir))
    folder = Path(options.out) if options.out else sweep.folder / "report"
    with writing(folder):
        written = tables.write(results, folder)
    if options.json:
        print(json.dumps(to_json(results), indent=1))
    else:
        tables.show(results, console())
        print(f"written: {', '.join(map(str, written))}")
    return 0


COMMAND = Command("report", "the table of scores; writes results.json and results.md", _run, _add_arguments)
