"""What became of a source's rows: counted by reason, duplicates dropped, a file with too many bad rows refused."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sft_sweeps.data import clean
from sft_sweeps.data.example import Dropped
from sft_sweeps.data.formats import FORMATS
from sft_sweeps.data.key_uses import Uses
from sft_sweeps.data.remedies import remedies
from sft_sweeps.errors import RequestError
from sft_sweeps.spec.data import Source

# Rows that a rule of the user's own drops are no bad ones.
DROPPED_BY_RULE = (
    "duplicate_",
    "tag_",
    "word_",
    "code_fence",
    "language",
    "blocked_word",
    "plugin",
    "lost_",
    "wrong_list",
)
MOST_KEYS, OTHERS = 100, "(other keys)"


class RowCount(NamedTuple):
    """How many examples one row became, and why it or parts of it were dropped; `keys` tell duplicates."""

    examples: int
    dropped: tuple[Dropped, ...] = ()
    keys: clean.Keys | None = None
    turns: int = 0  # of the examples
    left_out: tuple[tuple[str, int], ...] = ()  # turns that are in none of them, by reason
    ignored: tuple[str, ...] = ()  # keys of the row that nothing is known of
    uses: Uses = ()  # what its keys are used for
    unlearnt: int = 0  # answers of the examples that are given and not learnt


@dataclass
class Tally:
    """What became of the rows so far: how many, and how many dropped for each reason, with a sample of each."""

    rows: int = 0
    examples: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    samples: dict[str, str] = field(default_factory=dict)
    dropped_rows: Counter[str] = field(default_factory=Counter)  # without any example, each for one reason
    turns: int = 0  # that the rows have: those of the examples, and those that were dropped
    dropped_turns: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)  # keys that nothing is known of, by the rows that have them
    uses: Counter[tuple[str, str]] = field(default_factory=Counter)  # keys with their use, by the rows that have them
    unlearnt: int = 0  # answers that are given and not learnt

    def drop(self, dropped: Dropped) -> None:
        """Count a dropped row, or a part of one."""
        self.dropped[dropped.reason] += 1
        self.drop_turns(dropped.reason, dropped.turns)
        self.samples.setdefault(dropped.reason, dropped.sample)

    def drop_turns(self, reason: str, turns: int) -> None:
        """Count turns that are in no example."""
        if turns:
            self.turns += turns
            self.dropped_turns[reason] += turns

    def ignore(self, keys: Iterable[str]) -> None:
        """Count keys of a row; of very many different ones, no new names."""
        for key in keys:
            self.ignored[key if key in self.ignored or len(self.ignored) < MOST_KEYS else OTHERS] += 1

    def use(self, uses: Uses) -> None:
        """Count what the keys of a row are used for; of very many different ones, no new names."""
        for both in uses:
            self.uses[both if both in self.uses or len(self.uses) < MOST_KEYS else (OTHERS, both[1])] += 1

    @property
    def keys(self) -> dict[str, dict[str, int]]:
        """For each key, by what it is used for, the rows that have it."""
        found: dict[str, dict[str, int]] = {}
        for (key, use), rows in self.uses.items():
            found.setdefault(key, {})[use] = rows
        return found


class RowFilter:
    """Counts what became of the rows, and drops duplicates of earlier ones."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._unique = clean.Unique()

    def keeps(self, row: RowCount) -> bool:
        """Whether the examples of the next row stay."""
        tally = self.tally
        tally.rows += 1
        tally.ignore(row.ignored)
        tally.use(row.uses)
        for reason, turns in row.left_out:
            tally.drop_turns(reason, turns)
        if row.keys and (reason := self._unique.repeats(row.keys)):
            tally.drop(Dropped(reason, f"row {tally.rows - 1}", row.turns + sum(part.turns for part in row.dropped)))
            tally.dropped_rows[reason] += 1
            return False
        for dropped in row.dropped:
            tally.drop(dropped)
        if row.dropped and not row.examples:
            tally.dropped_rows[row.dropped[0].reason] += 1
        tally.examples += row.examples
        tally.turns += row.turns
        tally.unlearnt += row.unlearnt
        return bool(row.examples)


def limit_key(source: Source) -> str:
    """What the user types to raise the limit of a source."""
    return f"data.sources.{source.slot or source.name}.max_bad_fraction"


def check_account(account: Mapping[str, Any], source: Source) -> None:
    """As `check_bad_rows`, of a source that was encoded before, perhaps under another limit; and its number of rows.

    Both belong to whoever asks for the source. They are no part of the source's identity, so a store that has the
    source says nothing of them.
    """
    if source.rows_from == "generated":
        return
    samples = dict.fromkeys(account["dropped"], "(no example was kept)") | account.get("samples", {})
    tally = Tally(account["rows"], account["examples"], Counter(account["dropped"]), samples)
    check_bad_rows(tally, Path(source.path), source, limit_key(source))


def check_bad_rows(tally: Tally, path: Path, source: Source, key: str) -> None:
    """RequestError when more than `max_bad_fraction` of the rows cannot be used, or none can, or they are not as many.

    `key` is what the user types to raise that limit.
    """
    limit = source.max_bad_fraction
    if source.declared_rows not in (0, tally.rows):
        typed = f"{key.rpartition('.')[0]}.rows={tally.rows}"
        declared = f"source {source.name} declares {source.declared_rows:,} rows and has {tally.rows:,}"
        raise RequestError(f"{declared}. Fetch the file again, or type {typed}.")
    bad = sum(count for reason, count in tally.dropped.items() if not reason.startswith(DROPPED_BY_RULE))
    if bad <= limit * tally.rows and tally.examples:
        return
    lines = [
        f"source {source.name}: {bad:,} of the {tally.rows:,} rows of {path} cannot be used ({bad / tally.rows:.1%}).",
        *(f"    {count:,} {reason}, e.g. {tally.samples[reason]}" for reason, count in sorted(tally.dropped.items())),
    ]
    if "unknown_fields" in tally.dropped:
        shapes = ", ".join("{" + ", ".join(sorted(format_.fields)) + "}" for format_ in FORMATS.all.values())
        lines.append(f"    A row needs the fields of one format: {shapes}.")
    lines += [f"    {text}" for text in remedies(tally.samples, f"data.sources.{source.slot or source.name}")]
    raised = f", or raise {key} (now {limit:g})" if tally.examples else ""
    raise RequestError("\n".join([*lines, f"Fix the file{raised}."]))
