"""The tables of `sft-sweeps next`; next.py makes what they show."""

from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from sft_sweeps.analysis.conclusions import KINDS
from sft_sweeps.analysis.next_runs import MEASURED, OPEN, SETTLED, Board, Choice
from sft_sweeps.commands import fit
from sft_sweeps.commands.fit import Column
from sft_sweeps.terminal import say

if TYPE_CHECKING:
    from sft_sweeps.commands.next import Next

SHOWN = 8  # conclusions of a kind that are named
STATES = (SETTLED, OPEN, MEASURED)


def show(made: "Next", out: Console) -> None:
    """What to run, then what is settled and what is not."""
    choices = made.advice.choices
    if choices:
        fit.show(_choice_columns(choices), f"{made.name}: to run next, at most {made.budget:g} {made.unit}", out)
        say(out, "gain: how many conclusions more are expected to be right then")
        say(out, escape(f"{made.advice.hours:,.4g} {made.unit} in all; {made.advice.stopped}"))
    else:
        say(out, escape(f"{made.name}: nothing to run; {made.advice.stopped}"))
    fit.show(_state_columns(made.boards), "conclusions as they stand now", out)
    say(out, f"{MEASURED}: both scores are there, and only other items or seeds would tell")
    for state in (SETTLED, OPEN):
        named = [line for board in made.boards for line in _named(board, state)]
        lines = [text for _, text in sorted(named, key=lambda one: -abs(one[0]))]
        if lines:
            more = f"\n  ... and {len(lines) - SHOWN} more; {fit.MORE}" if len(lines) > SHOWN else ""
            say(out, escape(f"{state}:\n  " + "\n  ".join(lines[:SHOWN]) + more))


def _choice_columns(choices: tuple[Choice, ...]) -> list[Column]:
    totals = accumulate(one.hours for one in choices)
    return [
        Column("run", [_labels(one) for one in choices], good=50, least=20),
        Column("cost", [f"{one.hours:,.3g}" for one in choices], right=True),
        Column("together", [f"{total:,.3g}" for total in totals], right=True, dropped=2),
        Column("gain", [f"{one.gain:.2f}" for one in choices], right=True),
        Column("may change", [_likely(one) for one in choices], good=60, least=24, dropped=1),
    ]


def _labels(choice: Choice) -> str:
    first, *others = (one.label for one in choice.candidates)
    return f"{first} and {len(others)} more that share a stage" if others else first


def _likely(choice: Choice) -> str:
    if not choice.likely:
        return ""
    chance, benchmark, one = choice.likely[0]
    return f"{chance:.0%} {benchmark}: {one.text}"


def _state_columns(boards: list[Board]) -> list[Column]:
    counts = {
        (board.scoring.benchmark, kind): Counter(
            state for one, state in zip(board.conclusions, board.states(), strict=True) if one.kind == kind
        )
        for board in boards
        for kind in KINDS
    }
    rows = [(place, of) for place, of in counts.items() if of]
    return [
        Column("benchmark", [benchmark for (benchmark, _), _ in rows]),
        Column("about", [kind for (_, kind), _ in rows]),
        *(Column(state, [str(of[state]) for _, of in rows], right=True) for state in STATES),
    ]


def _named(board: Board, state: str) -> list[tuple[float, str]]:
    """The comparisons of a state, with how far apart the two are."""
    named = []
    for one, mean, sure, of in zip(board.conclusions, board.means(), board.sure(), board.states(), strict=True):
        if of == state and one.second is not None:
            first, _, second = one.text.partition(" > ")
            text = one.text if mean > 0 else f"{second} > {first}"
            named.append((float(sure), f"{board.scoring.benchmark}: {text} ({_percent(float(sure))} sure)"))
    return named


def _percent(share: float) -> str:
    return "over 99.9%" if share > 0.999 else f"{share:.1%}"
