"""`sft-sweeps audit TABLE.csv`: what a table of scores says of how its numbers came about, and what they can carry."""

import argparse
import re
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, print_json
from sft_sweeps.errors import RequestError
from sft_sweeps.terminal import console

RANGE = re.compile(r"([0-9]{1,6}):([0-9]{1,6})")
ITEMS = re.compile(r"(.+)=([0-9]{1,7})")
WIDEST = 5000  # values of n that --scan tries, each for every group


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "table", nargs="?", type=Path, metavar="TABLE.csv", help="a score a row, or a benchmark a column"
    )
    parser.add_argument("--paper", action="store_true", help="look at Tables 1 to 6 of Dong et al. 2024 in its place")
    parser.add_argument("--reference", type=Path, metavar="FILE.csv", help="a table whose values may stand in this one")
    parser.add_argument(
        "--claim", action="append", default=[], metavar="'A > B'", help="an ordering of two rows; repeat"
    )
    parser.add_argument("--against", metavar="ROW", help="that this row is better than each other one")
    parser.add_argument(
        "--n", action="append", default=[], metavar="NAME=N", help="items of a benchmark; gsm8k and humaneval are known"
    )
    parser.add_argument("--by", metavar="COLUMNS", help="which columns name a group scored alike (default: model)")
    parser.add_argument("--row", metavar="COLUMN", help="which column names the row (default: row, run, method, ...)")
    parser.add_argument(
        "--same", metavar="COLUMNS", help="columns that say what was scored: where they agree, values should"
    )
    parser.add_argument("--scan", default="50:1400", metavar="LOW:HIGH", help="numbers of items tried (%(default)s)")
    parser.add_argument(
        "--discordant",
        type=float,
        default=0.2,
        help="share of items that only one of two models gets right, for what n items can show (%(default)s)",
    )
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.analysis import audit_paper, audit_table
    from sft_sweeps.analysis.audit import audited
    from sft_sweeps.analysis.audit_claims import Claim, against
    from sft_sweeps.analysis.paper import TABLES
    from sft_sweeps.commands.audit import as_json, text

    scan, discordant = _scan(options.scan), _discordant(options.discordant)
    claims = [Claim.parsed(claim) for claim in options.claim]
    if (options.table is None) != options.paper:
        raise RequestError("Give the path of one table, or --paper.")
    if options.paper or options.table.resolve() == TABLES:
        if options.n or options.by or options.row or options.same:
            raise RequestError("The paper's tables are read as they are: leave out --n, --by, --row and --same.")
        name, table, reference = "Tables 1 to 6 of Dong et al. 2024", audit_paper.table(), audit_paper.reference()
        claims = claims or list(audit_paper.CLAIMS)
    else:
        layout = audit_table.Layout(_columns(options.by), options.row, _columns(options.same), _items(options.n))
        name, table, reference = str(options.table), audit_table.read(options.table, layout), ()
    if options.reference:
        reference = audit_table.read(options.reference, audit_table.Layout(items=_items(options.n))).entries
    if options.against:
        claims += against(options.against, table.entries)
    audit = audited(table, reference, claims, scan, discordant)
    if options.json:
        print_json(as_json.SCHEMA, as_json.document(audit, name))
    else:
        text.show(audit, name, console())
    return 0


def _columns(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in (text or "").split(","))))


def _items(texts: list[str]) -> dict[str, int]:
    items = {}
    for text in texts:
        found = ITEMS.fullmatch(text.strip())
        if not found or not re.search(r"\w", found[1]) or int(found[2]) < 1:
            raise RequestError(
                f"--n {text}: give a benchmark's name as in the table, and its items, e.g. --n mbpp=500."
            )
        items[found[1].strip()] = int(found[2])
    return items


def _scan(text: str) -> tuple[int, int]:
    found = RANGE.fullmatch(text)
    if not found or not 1 <= int(found[1]) < int(found[2]) <= int(found[1]) + WIDEST:
        raise RequestError(f"--scan {text}: give two numbers of items, at most {WIDEST:,} apart, e.g. --scan 50:1400.")
    return int(found[1]), int(found[2])


def _discordant(share: float) -> float:
    if not 0 < share <= 1:
        raise RequestError(f"--discordant {share}: a share of items above 0, at most 1, e.g. 0.2.")
    return share


ABOUT = """\
It asks of each value whether it can be k of n, and of which n; of equal values whether chance makes them; and which
orderings could be significant at best. docs/audit.md says how."""
COMMAND = Command(
    "audit",
    "whether a table's scores can be what they say",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps audit --paper  # Tables 1 to 6 of Dong et al. 2024",
        "sft-sweeps audit table.csv --json",
    ),
    topic="results",
)
