"""Figures for print: reproducible, embeddable, safe for whatever text names a series."""

import subprocess
import sys
from pathlib import Path

from sft_sweeps.report.figures import style


def drawn(folder: Path, label: str = "a") -> list[Path]:
    with style.applied():
        figure, axes = style.panels(1, 2, width=style.COLUMN)
        axes[0, 0].plot([1, 2], [1, 2], label=label)
        axes[0, 0].legend()
        return style.save(figure, folder, "figure")


def test_equal_data_make_equal_files(tmp_path: Path) -> None:
    first, second = drawn(tmp_path / "a"), drawn(tmp_path / "b")
    assert [path.name for path in first] == ["figure.svg", "figure.pdf", "figure.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_fonts_of_a_pdf_are_truetype(tmp_path: Path) -> None:
    text = drawn(tmp_path)[1].read_bytes()
    assert b"/CIDFontType2" in text or b"/TrueType" in text
    assert b"/Type3" not in text


def test_names_may_hold_anything(tmp_path: Path) -> None:
    assert all(path.stat().st_size for path in drawn(tmp_path, r"<b>$x_{$ \frac & 100% 🦙 _private"))


def test_twenty_series_differ_in_look() -> None:
    looks = style.looks(map(str, range(20)))
    assert len(looks) == len({(look.colour, look.marker) for look in looks.values()}) == 20


def test_nothing_global_changes(tmp_path: Path) -> None:
    program = (
        "import sys, matplotlib; from pathlib import Path; from sft_sweeps.report.figures import style\n"
        "before = matplotlib.rcParams.copy()\n"
        "with style.applied(): style.save(style.panels()[0], Path(sys.argv[1]), 'x', ['png'])\n"
        "assert matplotlib.rcParams.copy() == before and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_matplotlib_is_imported_only_to_draw() -> None:
    program = "import sys, sft_sweeps.report.figures.style; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
