"""A report as files: tables, figures for print, and the page that shows all of it."""

from collections.abc import Sequence
from pathlib import Path

from sft_sweeps.report import tables
from sft_sweeps.report.figures import write as printed
from sft_sweeps.report.page import build
from sft_sweeps.report.page.evidence import Evidence


def write(sweeps: Sequence[Evidence], folder: Path) -> list[Path]:
    """The tables of one sweep in the folder, of several in a folder each inside; last the page of all of them."""
    from sft_sweeps.analysis import paper

    build.check(folder)
    written: list[Path] = []
    for sweep in sweeps:
        written += tables.write(sweep.results, folder / sweep.name if len(sweeps) > 1 else folder)
    seen = [*build.observations(sweeps), *paper.observations()]
    for_print = printed.write(seen, folder)
    return [*written, *for_print.paths, build.write(sweeps, folder, for_print)]
