"""A report as files: tables, figures for print, and the page that shows all of it."""

from collections.abc import Sequence
from pathlib import Path

from sft_sweeps.report import tables
from sft_sweeps.report.page import build
from sft_sweeps.report.page.evidence import Evidence


def write(sweeps: Sequence[Evidence], folder: Path) -> list[Path]:
    """The files of one sweep in the folder, of several in a folder each inside; last the page of all of them."""
    build.check(folder)
    written: list[Path] = []
    for sweep in sweeps:
        written += tables.write(sweep.results, folder / sweep.name if len(sweeps) > 1 else folder)
    return [*written, build.write(sweeps, folder)]
