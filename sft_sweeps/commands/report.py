"""`sft-sweeps report`: the tables of one or several sweeps, printed and written as files, and a page of all of them."""

import argparse
import json
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, add_output_dir, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.files.json_files import read_json
from sft_sweeps.store import sharing
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import Sweep, find
from sft_sweeps.terminal import console, writing

SCHEMA = 1  # of several; of one it is results.json


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", nargs="*", help="part of a sweep's name, or several (default: the newest)")
    add_output_dir(parser)
    add_json(parser)
    parser.add_argument("--out", metavar="DIR", help="folder for the files (default: report/ in the sweep's folder)")


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.report import tables
    from sft_sweeps.report.page import evidence
    from sft_sweeps.report.write import write

    sweeps = _sweeps(options)
    folder = _folder(sweeps, options)
    names = evidence.names(sweeps)
    found = [evidence.read(one, options.output_dir, name) for one, name in zip(sweeps, names, strict=True)]
    sharing.join(Path(options.output_dir))
    with writing(folder):
        written = write(found, folder)
    if options.json:
        results = [read_json(path) for path in written if path.name == "results.json"]
        print(json.dumps(results[0], indent=1)) if len(results) == 1 else print_json(SCHEMA, {"reports": results})
    else:
        for one in found:
            tables.show(one.results, console())
        print(f"written: {', '.join(map(str, written[:-1]))}; figures/ and tables/ for print beside them")
        print(f"the page: {written[-1]}")
    return 0


def _sweeps(options: argparse.Namespace) -> list[Sweep]:
    """Those that are named, each once."""
    store = Store(options.output_dir)
    return list(dict.fromkeys(find(store, name) for name in options.sweep or [None]))


def _folder(sweeps: list[Sweep], options: argparse.Namespace) -> Path:
    if options.out:
        return Path(options.out)
    if len(sweeps) > 1:
        raise RequestError("several sweeps need a folder for their page; type --out FOLDER")
    return sweeps[0].folder / "report"


ABOUT = """\
Written are index.html (the page, one file that fetches nothing), results.json, tables/ and figures/ for print:
docs/report.md. Several sweeps share a page."""
COMMAND = Command(
    "report",
    "the tables of scores and a page of them, written as files",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps report",
        "sft-sweeps report SWEEP --out report",
    ),
    topic="results",
)
