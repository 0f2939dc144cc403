"""How figures for print look: as wide as a column or a page, told apart without colour too.

Colours are Okabe and Ito's (2008). What is told apart has a colour, a marker and a line of its own. A dashed line is
kept for what is predicted and a hollow marker for what another work reports. Fonts go into a PDF as TrueType (type 42),
which publishers ask for. Nothing global is touched, pyplot is not used, and equal data make equal files.

    with style.applied():
        figure, axes = style.panels(1, 3)
        axes[0, 0].plot(...)
        paths = style.save(figure, folder, "figure2")
"""

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN = 3.3  # inches
PAGE = 6.8
PANEL_HEIGHT = 1.9
FORMATS = ("svg", "pdf", "png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
LINES: tuple[Any, ...] = ("-", "-.", (0, (1, 1)), (0, (6, 1, 1, 1, 1, 1)), (0, (3, 1, 1, 1)), (0, (1, 2)), "-")
PREDICTED = (0, (4, 2))
QUIET = "#767676"  # grid, notes, the line of no difference: 4.5 to 1 on white
RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same everywhere
    "font.size": 7,
    "axes.titlesize": 8,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "sft-sweeps",
    "savefig.dpi": 200,
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a `$` in a name is one
}


@dataclass(frozen=True, slots=True)
class Look:
    """What sets one series apart: its colour, marker and line."""

    colour: str
    marker: str
    line: Any = "-"


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each distinct name, in order; beyond seven, colours come again with another marker."""
    made = {}
    for index, name in enumerate(dict.fromkeys(names)):
        colour, again = index % len(COLOURS), index // len(COLOURS)
        made[name] = Look(COLOURS[colour], MARKERS[(colour + 3 * again) % len(MARKERS)], LINES[colour])
    return made


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Figures that are made and saved within look like this; a glyph that the font lacks is drawn as a box."""
    import matplotlib

    with matplotlib.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font", category=UserWarning)
        yield


def panels(rows: int = 1, columns: int = 1, width: float = PAGE, height: float = PANEL_HEIGHT, **options: Any) -> Any:
    """A figure and its axes as an array of rows and columns; `height` is of one row, options are of `subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, rows * height + 0.35), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def save(figure: "Figure", folder: Path, name: str, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write a figure in each format, without a time in it; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}
    paths = [folder / f"{name}.{suffix}" for suffix in formats]
    figure.draw_without_rendering()  # lays it out, once for all formats
    figure.set_layout_engine("none")
    for path, suffix in zip(paths, formats, strict=True):
        figure.savefig(path, format=suffix, metadata=undated.get(suffix))
    return paths
