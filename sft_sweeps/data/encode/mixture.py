"""The examples of one stage: what its mixture takes of each source, and the account of it for `data.json`."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sft_sweeps.data.encode import prepare
from sft_sweeps.data.encode.encoded_source import EncodedSource
from sft_sweeps.data.encode.encoder import Encoded
from sft_sweeps.data.select import last, taken
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.spec.data import Component, Mixture, Source


def mixture_examples(mixture: Mixture, find: Callable[[Source], EncodedSource]) -> tuple[list[Encoded], dict[str, Any]]:
    """The examples of every component that are trained on, and for each source what was taken and what was not.

    The account of a source has its rows, dropped rows by reason, what became of every turn of them, the keys that
    nothing is known of, fraction and exact example ids; those of which nothing could be learnt were taken and are
    listed apart, unless `bug_compatible` trains on them.
    """
    names = [component.source.name for component in mixture.components]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise RequestError(f"a mixture lists {', '.join(sorted(repeated))} twice. Give each source one fraction.")
    examples: list[Encoded] = []
    account: dict[str, Any] = {}
    for component in mixture.components:
        source = find(component.source)
        # A small k may replay no example of a small source.
        chosen = [source.encoded(index) for index in taken(source.order(component.seed), component)]
        account[component.source.name] = _entry(component, source, chosen)
        kept = [example for example in chosen if component.source.bug_compatible or not example.reason]
        if component.repeat > 1 or component.weight != 1:
            kept = [replace(one, repeat=component.repeat, weight=float(component.weight)) for one in kept]
        examples += kept
    if not any(entry["examples"] for entry in account.values()):
        shares = ", ".join(f"{c.fraction} of {c.source.name}" for c in mixture.components)
        raise RequestError(f"{shares} is less than one example. Take a larger fraction.")
    return examples, account


def check_repeats(examples: Sequence[Encoded], batch_size: int) -> None:
    """RunError where a repeated source has fewer examples than a batch, which would hold one twice.

    A plan counts rows, of which some may be dropped when they are read.
    """
    counts = Counter(example.source for example in examples if example.repeat > 1)
    for name, count in counts.items():
        if count < batch_size:
            raise RunError(
                f"{name} is repeated, and has {count:,} examples of which something can be learnt, fewer than a batch "
                f"({batch_size}), so that one would hold an example twice. Set train.batch_size={count} or less, take "
                "more examples, or leave data.repeat out."
            )


def heldout(source: EncodedSource, seed: int, count: int) -> list[Encoded]:
    """Of the last `count` examples of a source's order, those on which a loss can be taken."""
    examples = (source.encoded(index) for index in last(source.order(seed), source.name, count))
    return [example for example in examples if not example.reason]


def source_finder(
    tokenizer: Path, template: str, max_length: int, roots: Sequence[Path]
) -> Callable[[Source], EncodedSource]:
    """A function that finds a source's encoded examples in the stores, or makes them in the first."""

    def find(source: Source) -> EncodedSource:
        return prepare.get(prepare.encoded_key(source, tokenizer, template, max_length), tokenizer, roots)

    return find


def stored_finder(
    tokenizer: Path, template: str, max_length: int, roots: Sequence[Path]
) -> Callable[[Source], EncodedSource | None]:
    """The same for what is there already; None for what is not."""
    return lambda source: prepare.stored(prepare.encoded_key(source, tokenizer, template, max_length), roots)


def _entry(component: Component, source: EncodedSource, chosen: list[Encoded]) -> dict[str, Any]:
    masked = Counter(example.reason for example in chosen if example.reason)
    return {
        "fraction": str(component.fraction),
        "seed": component.seed,
        "heldout": component.heldout,
        "rows": source.account["rows"],
        "usable": len(source),
        "dropped": source.dropped,
        "turns": source.account.get("turns", {}),
        "ignored_keys": source.account.get("ignored_keys", {}),
        "keys": source.account.get("keys", {}),
        "examples": len(chosen),
        **({"repeat": component.repeat, "weight": str(component.weight)} if component.shown_otherwise else {}),
        "truncated": sum(example.truncated for example in chosen),
        "masked": dict(sorted(masked.items())),
        "ids": [example.id for example in chosen],
        "masked_ids": [example.id for example in chosen if example.reason],
    }
