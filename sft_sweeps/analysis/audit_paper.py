"""The paper's own tables as `sft-sweeps audit --paper` looks at them."""

from decimal import Decimal
from pathlib import Path

from sft_sweeps.analysis import audit_table, paper
from sft_sweeps.analysis.audit_claims import Claim
from sft_sweeps.analysis.audit_table import Entry, Layout, Table

REFERENCE = Path(__file__).with_name("screl.csv")
CLAIMS = tuple(
    Claim("DMT(k=1/256)", other)
    for other in ("Multi-task learning", "Sequential Training", "Mixed Sequential Training")
)


def table() -> Table:
    """Every cell that the first version prints, each with its run as its place."""
    return Table(tuple(_entry(cell) for cell in paper.cells() if not cell.second_hand))


def _entry(cell: paper.Cell) -> Entry:
    graded = cell.benchmark in audit_table.GRADED
    items = paper.ITEMS[cell.benchmark]
    return Entry(
        where=f"T{cell.table} {cell.row}, {cell.model} {cell.benchmark}",
        row=cell.row,
        group=cell.model,
        benchmark=cell.benchmark,
        printed=cell.printed,
        value=Decimal(cell.printed),
        digits=len(cell.printed.partition(".")[2]),
        n=None if graded else items,
        graded=items if graded else None,
        section=f"T{cell.table}",
        place=tuple(map(str, cell.run)),
    )


def reference() -> tuple[Entry, ...]:
    """What gsm8k-ScRel, of the paper's authors, printed before."""
    return audit_table.read(REFERENCE, Layout()).entries
