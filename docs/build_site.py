"""The docs as pages: `make docs`, or `python docs/build_site.py [SITE]`. A link or an anchor that leads nowhere fails.

README, CONTRIBUTING, CHANGELOG and docs/ are copied as they lie beside each other, so that links between them hold both
here and there, and Zensical makes a site of them. Below, GROUPS orders the pages; one that it does not name comes last.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")
GROUPS = {
    "Start": ("README.md", "docs/tour.md", "docs/cluster.md", "docs/concepts.md"),
    "Sweeps": ("docs/studies.md", "docs/data.md", "docs/models.md", "docs/training.md", "docs/evaluation.md"),
    "While it runs": ("docs/monitoring.md", "docs/slurm.md", "docs/tracking.md", "docs/disk.md"),
    "What came out": ("docs/report.md", "docs/figures.md", "docs/prediction.md", "docs/audit.md", "docs/publishing.md"),
    "The paper": ("docs/reproduction.md", "docs/paper_mini.md"),
    "Reference": ("docs/troubleshooting.md", "docs/command_line.md", "docs/json.md", "docs/speed.md", "CHANGELOG.md"),
    "Build on it": ("docs/extending.md", "docs/architecture.md", "CONTRIBUTING.md"),
    "Decisions": (),
    "More": (),
}
# No font and no script of the theme's comes from another server, but for what draws the diagrams.
CONFIG = """[project]
site_name = "sft-sweeps"
site_description = "How fine-tuning data shapes a language model: sweeps of data composition, planned, trained, scored."
docs_dir = "source"
site_dir = "site"
use_directory_urls = false
nav = [
{nav}
]

[project.theme]
font = false
features = ["navigation.tabs", "navigation.top", "content.code.copy"]

[project.markdown_extensions.toc]
permalink = true
[project.markdown_extensions.tables]
[project.markdown_extensions.attr_list]
[project.markdown_extensions.pymdownx.superfences]
custom_fences = [{{ name = "mermaid", class = "mermaid", format = "pymdownx.superfences.fence_code_format" }}]
"""


def pages() -> list[str]:
    """Every page, by its path in the project."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    ours = [path for path in found if path.parent.name in ("docs", "decisions")]
    return [*(name for name in TOP if name.endswith(".md")), *(path.relative_to(ROOT).as_posix() for path in ours)]


def groups() -> dict[str, list[str]]:
    """Every page once, in the order of GROUPS."""
    there = pages()
    ordered = {title: [name for name in names if name in there] for title, names in GROUPS.items()}
    named = {name for names in ordered.values() for name in names}
    for name in there:
        if name not in named:
            ordered["Decisions" if "/decisions/" in name else "More"].append(name)
    return {title: names for title, names in ordered.items() if names}


def _nav() -> Iterator[str]:
    for title, names in groups().items():
        yield f'  {{ "{title}" = [{", ".join(f"{chr(34)}{name}{chr(34)}" for name in names)}] }},'


def build(target: Path) -> int:
    """Make the site; the exit status is not 0 where something leads nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        shutil.copytree(ROOT / "docs", work / "source" / "docs", ignore=shutil.ignore_patterns("*.py"))
        for name in TOP:
            shutil.copy(ROOT / name, work / "source" / name)
        (work / "zensical.toml").write_text(CONFIG.format(nav="\n".join(_nav())), encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=work, check=False)
        if done.returncode == 0:
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(work / "site", target)
            print(f"the docs: {target / 'index.html'}")
        return done.returncode


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1] if sys.argv[1:] else ROOT / "build" / "docs")))
