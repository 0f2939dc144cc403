"""Tables go through a real LaTeX, where there is one: Debian's texlive-latex-base and texlive-latex-recommended."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REQUIRED = "SFT_SWEEPS_REQUIRE_LATEX"


def compiles(folder: Path, *tables: Path) -> None:
    """All of them in one document, without an error and without a line that is too wide."""
    if shutil.which("pdflatex") is None and not os.environ.get(REQUIRED):
        pytest.skip("no pdflatex")
    assert tables
    inputs = "".join(rf"\input{{{table.relative_to(folder)}}}\clearpage " for table in tables)
    packages = r"\usepackage{booktabs,graphicx}\usepackage[a4paper,margin=2cm]{geometry}"
    text = rf"\documentclass{{article}}{packages}\begin{{document}}{inputs}\end{{document}}"
    (folder / "main.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout, done.stdout[-2000:]
