"""The stages, base models and runs that a store knows of: what its sweeps planned, and what has a folder."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.files.json_files import read_json
from sft_sweeps.identity import ID_LENGTH, parents_of
from sft_sweeps.plan.labels import own_words
from sft_sweeps.store.store import Store
from sft_sweeps.store.sweeps import PLAN, Sweep, sweeps
from sft_sweeps.terminal import LAUNCH

KINDS = {"stage": "stage", "merge": "merge", "model": "base model"}  # by what identities call them
SHOWN = 12  # candidates in a message


@dataclass
class Known:
    """A stage, merge or base model: what is hashed of it, its runs (those that end in it) and sweeps, newest first."""

    id: str
    label: str
    payload: Mapping[str, Any]
    runs: dict[str, None] = field(default_factory=dict)
    sweeps: list[Sweep] = field(default_factory=list)

    @property
    def trained(self) -> bool:
        """Whether it is a stage, or a merge of such; else a base model."""
        return self.kind != "base model"

    @property
    def kind(self) -> str:
        """What it is, for people."""
        return KINDS.get(str(self.payload.get("kind")), "base model")


class Catalogue:
    """Everything that a store knows of, by id. A plan that cannot be read is passed over."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.known: dict[str, Known] = {}
        for sweep in reversed(sweeps(store)):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                self._add_planned(sweep, read_json(sweep.folder / PLAN))
        for root in store.roots:
            for folder in (path for kind in ("models", "stages") for path in sorted((root / kind).glob("*-*"))):
                with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
                    self._add_made(folder)

    def _add_planned(self, sweep: Sweep, plan: Mapping[str, Any]) -> None:
        spec, payloads = plan["spec"], plan["spec"]["payloads"]
        labels = {key: str(model["name"]) for key, model in spec["models"].items()}
        labels |= {stage["id"]: str(stage["label"]) for stage in (*plan["stages"], *plan.get("merges", ()))}
        for key, label in labels.items():
            self.known.setdefault(key, Known(key, label, payloads[key])).sweeps.append(sweep)
        for run in plan["runs"]:
            self.known[run["id"]].runs[str(run["label"])] = None

    def _add_made(self, folder: Path) -> None:
        key, payload = folder.name[-ID_LENGTH:], read_json(folder / "identity.json")
        if key not in self.known and payload and payload.get("kind") in KINDS:
            self.known[key] = Known(key, folder.name[: -ID_LENGTH - 1], payload)

    @cached_property
    def words(self) -> Mapping[str, str]:
        """What tells those of one label apart."""
        return own_words({one.id: (one.label, one.payload) for one in self.known.values()})

    def name(self, one: Known) -> str:
        """The label, with what tells it from others of that label."""
        return f"{one.label} {self.words[one.id]}".rstrip()

    def chain(self, one: Known) -> list[Known]:
        """From the base model to itself; what nobody knows any more is left out."""
        above = (self.known.get(parent) for parent in parents_of(one.payload))
        links = {link.id: link for parent in above if parent for link in self.chain(parent)}
        return [*links.values(), one]

    def exactly(self, text: str) -> bool:
        """Whether stages have an id that begins so, or a label that reads so."""
        return any(one.trained for how in EXACT for one in self._matching(text, how))

    def find(self, text: str, sweeps: Iterable[str] = ()) -> Known:
        """By the beginning of an id, a label of a stage or run, or a part of one; RequestError says what there is.

        `sweeps` are names that may have been meant too.
        """
        matching = next(filter(None, (self._matching(text, how) for how in WAYS)), [])
        if len(matching) == 1:
            return matching[0]
        if not self.known:
            raise RequestError(f"nothing is known in {self.store.root}; start a sweep with: {LAUNCH} study=quickstart")
        named = self._named(matching or list(self.known.values()))
        if not matching:
            labels = [label for one in self.known.values() for label in (one.label, *one.runs)]
            what = "no stage, run or sweep" if sweeps else "no stage or run"
            near = nearest(text, [*sweeps, *labels])
            raise RequestError(f"{what} '{text}' in {self.store.root}{near}; there are:{named}")
        raise RequestError(f"'{text}' means {len(matching)} stages; give the beginning of an id:{named}")

    def _matching(self, text: str, fits: Callable[[str, Known, str], bool]) -> list[Known]:
        return [one for one in self.known.values() if text and fits(text, one, self.name(one))]

    def _named(self, some: Iterable[Known]) -> str:
        lines = [f"\n    {one.id}  {self.name(one)}{_of_runs(one)}" for one in some]
        more = f"\n    ... and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        return f"{''.join(lines[:SHOWN])}{more}"


def _of_runs(one: Known) -> str:
    return f"  (run {', '.join(one.runs)})" if one.runs else ""


def _by_id(text: str, one: Known, _: str) -> bool:
    return one.id.startswith(text)


def _by_name(text: str, one: Known, name: str) -> bool:
    return text in (one.label, name, *one.runs)


def _by_part(text: str, one: Known, name: str) -> bool:
    return any(text in label for label in (name, *one.runs))


EXACT = (_by_id, _by_name)
WAYS = (*EXACT, _by_part)  # the first that fits anything decides


def others(catalogue: Catalogue, one: Known) -> Iterator[Known]:
    """Those of its kind, of the same base model where it is a stage."""
    base = catalogue.chain(one)[0].id
    for other in catalogue.known.values():
        alike = other.id != one.id and other.trained == one.trained
        if alike and (not one.trained or catalogue.chain(other)[0].id == base):
            yield other
