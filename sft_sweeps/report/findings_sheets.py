"""Tables of what is found beyond single scores: changes by stage, backward transfer, Pareto fronts, crossings."""

from collections.abc import Iterable, Sequence
from typing import Any

from sft_sweeps.analysis.crossing import Crossing
from sft_sweeps.analysis.forgetting import BackwardTransfer, Change
from sft_sweeps.analysis.pareto import Front
from sft_sweeps.report.sheets import Entry, Sheet
from sft_sweeps.stats import Interval

Rows = tuple[tuple[Entry, ...], ...]


def forgetting(changes: Sequence[Change]) -> Sheet | None:
    """A line for each stage and benchmark."""
    rows = [_changed(one) for one in changes]
    records = (
        {
            "run": one.label,
            "path": " > ".join(one.path),
            "benchmark": one.benchmark,
            "protocol": one.protocol,
            "metric": one.metric,
            "trained": one.trained,
            "before": one.before,
            "after": one.after,
            **_ends(one.change),
            "seeds": len(one.seeds),
            "n": one.n,
        }
        for one in changes
    )
    caption = (
        "Change by stage: the score after it minus the score before it (turned where lower is better), so that "
        "forgetting is negative; 95 % interval, paired by item and seed."
    )
    return _sheet("forgetting", caption, ("run", "stages", "benchmark", "ability trained", "change"), [rows], records)


def _changed(one: Change) -> tuple[str, ...]:
    trained = "yes" if one.trained else "no"
    return one.label, ", then ".join(one.path[1:]), one.benchmark, trained, _signed(one.change, one.share)


def backward_transfer(found: Sequence[BackwardTransfer]) -> Sheet | None:
    """A line for each setting and unit."""
    rows = [(one.label, ", ".join(one.benchmarks), _signed(one.transfer, one.share)) for one in found]
    records = (
        {
            "run": one.label,
            "benchmarks": " ".join(one.benchmarks),
            "unit": one.unit,
            **_ends(one.transfer),
            "seeds": len(one.seeds),
        }
        for one in found
    )
    caption = (
        "Backward transfer (Lopez-Paz, Ranzato 2017): mean change from right after an ability's first training to the "
        "end, over the benchmarks of abilities trained before the last stage; negative is forgetting."
    )
    return _sheet("backward_transfer", caption, ("run", "benchmarks", "backward transfer"), [rows], records)


def pareto(fronts: Sequence[Front]) -> Sheet | None:
    """A block for each front, the surest first."""
    blocks, records = [], []
    for front in fronts:
        ranked = sorted(front.candidates, key=lambda one: -one.membership)
        theirs = ", as the paper prints" if front.candidates[0].cells[0].first.origin == "paper" else ""
        where = f"{front.model}{theirs} ({', '.join(front.benchmarks)})"
        blocks.append([(where, one.name, "yes" if one.on_front else "no", f"{one.membership:.0%}") for one in ranked])
        records += [
            {
                "model": front.model,
                "origin": one.cells[0].first.origin,
                "benchmarks": " ".join(front.benchmarks),
                "setting": one.name,
                "on_front": one.on_front,
                "membership": one.membership,
                "left_out": " ".join(front.left_out),
            }
            for one in ranked
        ]
    caption = (
        "Pareto fronts over strategies and k: on the front where no other setting is at least as good on every "
        "benchmark and better on one; in how many bootstrap draws, of seeds and items, it is."
    )
    return _sheet("pareto", caption, ("model", "setting", "on the front", "draws on it"), blocks, records)


def crossing(found: Sequence[Crossing]) -> Sheet | None:
    """A line for each model, benchmark and mixture."""
    rows = [(one.model, one.benchmark, one.mixture, one.origin, one.text()) for one in found]
    records = (
        {
            "model": one.model,
            "benchmark": one.benchmark,
            "mixture": one.mixture,
            "origin": one.origin,
            "finding": one.finding,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "draws_that_cross": one.shares.get("crosses", 0.0),
            "rises": one.rises,
        }
        for one in found
    )
    caption = (
        "The fraction of the data at which the mixture stops to help an ability: mixed minus alone, as falling with "
        "the amount of data, crosses 0."
    )
    return _sheet("crossing", caption, ("model", "benchmark", "mixture", "whose", "crossing"), [rows], records)


def _sheet(
    name: str,
    caption: str,
    columns: tuple[str, ...],
    blocks: Sequence[Sequence[tuple[str, ...]]],
    records: Iterable[dict[str, Any]],
) -> Sheet | None:
    entries = tuple(tuple(tuple(map(Entry, line)) for line in block) for block in blocks if block)
    if not entries:
        return None
    return Sheet(name, caption, (("", len(columns)),), columns, entries, tuple(records))


def _signed(interval: Interval, share: bool) -> str:
    scale, digits = (100, 1) if share else (1, 2)
    value, low, high = (f"{scale * end:+.{digits}f}" for end in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]" + (" points" if share else "")


def _ends(interval: Interval) -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
