"""Tables for print and for programs: one sheet as LaTeX (booktabs), Markdown and CSV, whatever its texts hold."""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sft_sweeps.files.json_files import write_text

Mark = Literal["", "best", "second"]
FORMATS = ("tex", "md", "csv")
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"\textdagger{}",
    "×": r"$\times$",
    "–": "--",
    "…": r"\dots{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{sign: f"{{{sign}}}" for sign in "[]*"},  # after a line's end they would be its argument
}
_LATIN = re.compile(r"[À-ÏÑ-ÖØ-Ýß-ïñ-öø-ýÿ]")  # what every LaTeX sets; of other letters the number is printed
_ROWS = 50  # of one page
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell's text; `best` is bold and `second` underlined."""

    text: str
    mark: Mark = ""


Blocks = tuple[tuple[tuple[Entry, ...], ...], ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: over its columns' names stand groups of columns (name and how many); rows come in blocks.

    `records` are the same and more as numbers, which is what CSV has: a line each, all with the same keys.
    """

    name: str
    caption: str
    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    blocks: Blocks
    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)


def write(sheet: Sheet, folder: Path) -> list[Path]:
    """In every format; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{sheet.name}.{suffix}" for suffix in FORMATS]
    write_text(paths[0], latex(sheet), durable=False)
    write_text(paths[1], markdown(sheet), durable=False)
    with paths[2].open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines(sheet))
    return paths


def latex(sheet: Sheet) -> str:
    """Tabulars that are never wider than the text or longer than a page, to be \\input; needs booktabs and graphicx."""
    caption = " ".join(sheet.caption.split())
    made = [_tabular(sheet, page) for page in _pages(sheet.blocks)]
    return f"% {caption}\n% To be \\input; needs booktabs and graphicx.\n" + "\n\\par\\bigskip\n".join(made) + "\n"


def _pages(blocks: Blocks) -> Iterator[Blocks]:
    """Blocks that fit on a page together; one that fits on none is cut."""
    page: list[tuple[tuple[Entry, ...], ...]] = []
    for block in blocks:
        for start in range(0, len(block), _ROWS):
            part = block[start : start + _ROWS]
            if page and sum(map(len, page)) + len(part) > _ROWS:
                yield tuple(page)
                page = []
            page.append(part)
    if page:
        yield tuple(page)


def _tabular(sheet: Sheet, blocks: Blocks) -> str:
    body = [
        r"\noindent\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}",
        r"\toprule",
        *_groups(sheet.groups),
        _row([escaped(name) for name in sheet.columns]),
    ]
    for block in blocks:
        body += [r"\midrule", *(_row([_marked(entry) for entry in row]) for row in block)]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}}"])


def _groups(groups: Sequence[tuple[str, int]]) -> list[str]:
    """Names over several columns, each with a rule below; nothing where none has one."""
    if not any(name for name, _ in groups):
        return []
    cells, rules, column = [], "", 1
    for name, width in groups:
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}" if name else " & " * (width - 1))
        rules += rf"\cmidrule(lr){{{column}-{column + width - 1}}}" if name else ""
        column += width
    return [_row(cells), rules]


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _marked(entry: Entry) -> str:
    text = escaped(entry.text)
    return {"best": rf"\textbf{{{text}}}", "second": rf"\underline{{{text}}}"}.get(entry.mark, text)


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_letter(letter) for letter in " ".join(text.split()))


def _letter(letter: str) -> str:
    if letter in _ESCAPED:
        return _ESCAPED[letter]
    plain = letter.isascii() and letter.isprintable()
    return letter if plain or _LATIN.match(letter) else f"{{[}}U+{ord(letter):04X}{{]}}"


def markdown(sheet: Sheet) -> str:
    """A table with its caption below; groups of columns are named in each column."""
    over = [name for name, width in sheet.groups for _ in range(width)]
    header = [f"{group} {name}".strip() for group, name in zip(over, sheet.columns, strict=True)]
    rows = [[_in_markdown(entry) for entry in row] for block in sheet.blocks for row in block]
    cells = [[_plain(name) for name in header], ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells) + f"\n\n{_plain(sheet.caption)}\n"


def _in_markdown(entry: Entry) -> str:
    text = _plain(entry.text)
    return {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(entry.mark, text)


def _plain(text: str) -> str:
    escapes = {"&": "&amp;", "<": "&lt;", "|": "\\|", "*": "\\*", "_": "\\_", "`": "\\`"}
    return "".join(escapes.get(letter, letter) for letter in " ".join(text.split()))


def lines(sheet: Sheet) -> list[list[Any]]:
    """CSV's: a header and the records; a text that a spreadsheet would run as a formula is quoted."""
    keys = list(sheet.records[0]) if sheet.records else list(sheet.columns)
    return [keys, *([safe(record[key]) for key in keys] for record in sheet.records)]


def safe(value: Any) -> Any:
    """A number or None as it is; a text that begins as a formula does, after an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
