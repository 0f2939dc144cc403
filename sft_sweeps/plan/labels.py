"""What tells stages of one label apart, and sources of one ability, in words.

Of stages: a seed, a learning rate, or what else their identities differ in.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sft_sweeps.identity import parents_of
from sft_sweeps.spec.data import Component

SHORT = {
    "recipe.learning_rate": "lr",
    "recipe.adapter.kind": "adapter",
    "mixture.seed": "data.seed",
    "mixture.heldout": "data.heldout",
}
# These say nothing to people, or what others say.
OPAQUE = ("parent", "kind", "mixture.source.content", "versions", "weights", "tokenizer", "recipe.source_order")


def short_names(components: Sequence[Component]) -> dict[str, str]:
    """What each source is called beside the others: by its ability, or by its name where several have that ability."""
    of_ability = Counter(c.source.ability for c in components)
    return {c.source.name: c.source.ability if of_ability[c.source.ability] == 1 else c.source.name for c in components}


def own_words(named: Mapping[str, tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """For each id with its label and payload, what it alone has among those of its label; empty where that is nothing.

    `seed=1 lr=1e-05`. Where the payloads differ in nothing that has a name, what their parents differ in.
    """
    groups: dict[str, list[str]] = {}
    for key, (label, _) in named.items():
        groups.setdefault(label, []).append(key)
    words: dict[str, str] = {}
    for keys in groups.values():
        words |= _words({key: named[key][1] for key in keys}, words)
    return words


def _words(payloads: Mapping[str, Mapping[str, Any]], parents: Mapping[str, str]) -> dict[str, str]:
    if len(payloads) == 1:
        return dict.fromkeys(payloads, "")
    values = {key: _leaves(payload) for key, payload in payloads.items()}
    names = dict.fromkeys(name for own in values.values() for name in own)
    telling = [name for name in names if len({own.get(name) for own in values.values()}) > 1]
    words = {
        key: " ".join(f"{SHORT.get(name, name.rpartition('.')[2])}={own[name]}" for name in telling if name in own)
        for key, own in values.items()
    }
    if len(set(words.values())) == len(words):
        return words
    above = {key: _above(payload, parents) for key, payload in payloads.items()}
    return {key: f"{text} after {above[key]}".strip() if above[key] else text for key, text in words.items()}


def _above(payload: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """What is said of the parent, or of the stages that a merge is made of."""
    return " and ".join(dict.fromkeys(filter(None, (words.get(parent) for parent in parents_of(payload)))))


def _leaves(payload: Mapping[str, Any]) -> dict[str, str]:
    """Each named value of a payload as text; those of several sources together, where they are not all the same."""
    found: dict[str, dict[str, None]] = {}
    for name, value in _walk(payload, ""):
        if not name.startswith(OPAQUE):
            found.setdefault(name, {})[str(value)] = None
    return {name: ",".join(values) for name, values in found.items()}


def _walk(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from _walk(item, name)
    else:
        yield name, value
