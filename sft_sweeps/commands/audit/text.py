"""An audit on a terminal: what was found, in sentences, then the tables that show it."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sft_sweeps.analysis.audit import Audit, Equals, Items
from sft_sweeps.analysis.audit_claims import Verdict
from sft_sweeps.terminal import counted, say, show_long

SHOWN = 12  # cells that hold no number, values that stand in several places

Cells = Sequence[Sequence[str]]


def findings(audit: Audit) -> list[str]:
    """The findings in sentences, gravest first; one that says so where there are none."""
    found = [_suspicion(one) for one in audit.items if one.suspected]
    if audit.off:
        found.append(f"{counted(len(audit.off), 'cell')} can be k of n for no whole k, rounded or cut off.")
    if audit.conflicts:
        found.append(f"Different values for one run on one benchmark, {counted(len(audit.conflicts), 'time')}.")
    impossible = [one for one in audit.equals if not one.possible]
    if impossible:
        values = ", ".join(f"{one.printed} ({one.benchmark})" for one in impossible)
        found.append(f"On different runs the same value, and one that is k of n for no k: {values}.")
    if audit.matches:
        places = len({one.entry.spot for one in audit.matches})
        found.append(
            f"As in the reference: {counted(places, 'score')}, in {counted(len(audit.matches), 'cell')}; by chance "
            f"{audit.matches_expected:.1f} would be."
        )
    found += _orderings(audit.verdicts)
    return found or ["Nothing that k of n items would not explain."]


def _suspicion(one: Items) -> str:
    assert one.suspected is not None
    best = one.suspected
    return (
        f"{_name(one)} is probably of {best.n:,} items, not {one.n:,}: {best.hits} of {best.of} different values are "
        f"k/{best.n} (by chance p = {_p(best.p)}; any n tried {_p(min(best.p * one.tried, 1))}), {one.on} k/{one.n}."
    )


def _orderings(verdicts: Sequence[Verdict]) -> list[str]:
    weighed = [one for one in verdicts if one.possible is not None]
    all_of = Counter(one.benchmark for one in weighed)
    possible = Counter(one.benchmark for one in weighed if one.possible)
    return [
        f"{benchmark}: {possible[benchmark]} of {counted(total, 'ordering')} could be significant, at best."
        for benchmark, total in all_of.items()
    ]


def show(audit: Audit, name: str, out: Console) -> None:
    """All parts that hold anything."""
    groups = len({(one.benchmark, one.group) for one in audit.table.entries})
    say(out, escape(f"{name}: {counted(len(audit.table.entries), 'score')} in {counted(groups, 'column')}"))
    for line in findings(audit):
        say(out, f"[bold]-[/] {escape(line)}")
    _show("Of how many items", *items(audit), out)
    _show("k of n for no whole k", *off(audit), out)
    _show("One run, different values", *conflicts(audit), out)
    _show("Different runs, one value", *equal(audit.equals[:SHOWN]), out)
    for ties in audit.ties:
        if ties.pairs:
            say(
                out,
                f"[dim]{ties.benchmark}: {ties.pairs} equal pairs; by chance about {ties.expected:.0f} would be.[/]",
            )
    if len(audit.equals) > SHOWN:
        say(out, f"[dim]The first {SHOWN} of {len(audit.equals)} values; all of them: --json[/]")
    _show("As in the reference", *matches(audit), out)
    _show("Orderings", *orderings(audit), out)
    _show("What so many items can tell apart", *resolutions(audit), out)
    _notes(audit, out)


def _notes(audit: Audit, out: Console) -> None:
    if audit.resolutions:
        say(
            out,
            f"[dim]Least p: McNemar's exact test where all items that only one of the two gets right are on one side. "
            f"Detectable: with 80 % power at 5 %, {100 * audit.discordant:g} % of the items discordant (--discordant), "
            "grades at a standard deviation of 2 between paired questions.[/]",
        )
    table = audit.table
    if table.skipped:
        more = f", and {len(table.skipped) - SHOWN} more (--json)" if len(table.skipped) > SHOWN else ""
        say(out, f"[yellow]note[/] {counted(len(table.skipped), 'cell')} left out, no score can be read from:")
        for cell in table.skipped[:SHOWN]:
            say(out, f"  {escape(cell)}")
        if more:
            say(out, f"  {more.lstrip(', ')}")
    if table.shares:
        names = ", ".join(table.shares)
        say(
            out,
            escape(
                f"note: read as shares of 1, as no value is above 1: {names}. Percentages: write a % sign behind one"
            ),
        )
    if table.unread:
        names = ", ".join(table.unread)
        say(
            out,
            escape(
                f"note: left out, their items not being known: {names}. Of a benchmark: --n '{table.unread[0]}=500'"
            ),
        )


def items(audit: Audit) -> tuple[list[str], Cells]:
    header = ["benchmark", "group", "n", "values on k/n", "by chance p", "fits best"]
    rows = []
    for one in audit.items:
        best = one.suspected
        fits = f"n = {best.n}: {best.hits} of {best.of}, p = {_p(best.p)}" if best else "-"
        rows.append([one.benchmark, one.group or "-", f"{one.n:,}", f"{one.on} of {one.of}", _p(one.fit.p), fits])
    return header, rows


def off(audit: Audit) -> tuple[list[str], Cells]:
    header = ["cell", "value", "nearest k/n"]
    rows = []
    for one in audit.off:
        n = one.n[-1]
        beside = ", ".join(f"{k}/{n} = {percent:.{max(one.entry.digits, 2)}f}" for k, percent in one.beside)
        rows.append([one.entry.where, one.entry.printed, beside])
    return header, rows


def conflicts(audit: Audit) -> tuple[list[str], Cells]:
    rows = []
    for conflict in audit.conflicts:
        for number, entry in enumerate(conflict):
            rows.append(["" if number else f"{entry.benchmark} {entry.group}".strip(), entry.printed, entry.where])
    return ["score", "value", "cell"], rows


def equal(found: Sequence[Equals]) -> tuple[list[str], Cells]:
    rows = []
    for one in found:
        for number, entry in enumerate(one.entries):
            possible = "" if number else "yes" if one.possible else "no"
            rows.append(["" if number else one.benchmark, "" if number else one.printed, possible, entry.where])
    return ["benchmark", "value", "is k/n", "cell"], rows


def matches(audit: Audit) -> tuple[list[str], Cells]:
    rows = [[one.entry.where, one.entry.printed, one.reference.printed, one.reference.where] for one in audit.matches]
    return ["cell", "value", "reference", "there"], rows


def orderings(audit: Audit) -> tuple[list[str], Cells]:
    header = [
        "better",
        "than",
        "benchmark",
        "group",
        "k of n",
        "difference",
        "least p",
        "unpaired p",
        "detectable",
        "can be significant",
    ]
    rows = []
    for one in audit.verdicts:
        counts = f"{one.counts[0]} to {one.counts[1]} of {one.n:,}" if one.counts else f"{one.n} questions"
        p = ["-" if value is None else _p(value) for value in (one.least_p, one.unpaired_p)]
        lower = "no: it is lower" if one.difference < 0 else "no"
        possible = "-" if one.possible is None else "yes" if one.possible else lower
        named = [
            one.claim.better,
            one.claim.than,
            one.benchmark,
            " ".join(filter(None, [one.section, one.group])) or "-",
        ]
        rows.append([*named, counts, f"{one.difference:+.2f}", *p, f"{one.detectable:.2f}", possible])
    return header, rows


def resolutions(audit: Audit) -> tuple[list[str], Cells]:
    header = ["benchmark", "n", "one score, 95 %", "paired difference", "unpaired difference"]
    rows = []
    for one in audit.resolutions:
        optional = ["-" if value is None else f"{value:.1f}" for value in (one.half_width, one.unpaired)]
        half = optional[0] if optional[0] == "-" else f"±{optional[0]}"
        rows.append(
            [one.benchmark, f"{one.n:,}", half, f"{one.paired:.{2 if one.unpaired is None else 1}f}", optional[1]]
        )
    return header, rows


def _show(title: str, header: Sequence[str], rows: Cells, out: Console) -> None:
    if not rows or show_long(out, title, header, rows, "all of them: --json"):
        return
    table = Table(*map(escape, header), title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    out.print(table)


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 0.001 else f"{p:.0e}"


def _name(one: Items) -> str:
    return " ".join(filter(None, [one.benchmark, one.group]))
