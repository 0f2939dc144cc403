"""Which stage or base model is meant, of those that have a folder or that the newest plan names."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sft_sweeps.errors import RequestError, nearest
from sft_sweeps.files.json_files import parse_line, read_json
from sft_sweeps.identity import ID_LENGTH
from sft_sweeps.plan.labels import own_words
from sft_sweeps.store.store import LABEL_LENGTH
from sft_sweeps.store.sweeps import PLAN
from sft_sweeps.terminal import LAUNCH

SHOWN = 12  # candidates in a message


@dataclass(frozen=True)
class Subject:
    """A stage or base model as its folder names it."""

    id: str
    label: str
    folder: Path


def find(root: Path, text: str) -> Subject:
    """The stage or base model whose id begins with a text, or whose label is or holds it; RequestError names them."""
    known = {subject.id: subject for subject in _known(root)}
    by_id = [subject for subject in known.values() if text and subject.id.startswith(text)]
    same = [subject for subject in known.values() if subject.label == text]
    matching = by_id or same or [subject for subject in known.values() if text in subject.label]
    if len(matching) != 1:  # what tells those of one label apart: a file for each
        known = {subject.id: subject for subject in _with_own_words(list(known.values()))}
        matching = [known[subject.id] for subject in matching]
        matching = matching or [subject for subject in known.values() if text and text in subject.label]
    if len(matching) == 1:
        return matching[0]
    named = "".join(f"\n    {subject.id}  {subject.label}" for subject in (matching or list(known.values()))[:SHOWN])
    count = len(matching or known)
    more = f"\n    ... and {count - SHOWN} more" if count > SHOWN else ""
    if not known:
        raise RequestError(f"no stage in {root}; start a sweep with: {LAUNCH} study=quickstart")
    if not matching:
        near = nearest(text, [subject.label for subject in known.values()])
        raise RequestError(f"no stage '{text}' in {root}{near}; there are:{named}{more}")
    raise RequestError(f"'{text}' means {count} stages; give the beginning of an id:{named}{more}")


def _with_own_words(subjects: list[Subject]) -> list[Subject]:
    payloads = {}
    for subject in subjects:
        with suppress(OSError, ValueError):
            payloads[subject.id] = (subject.label, read_json(subject.folder / "identity.json") or {})
    words = own_words(payloads)
    return [replace(one, label=f"{one.label} {words.get(one.id, '')}".rstrip()) for one in subjects]


def _known(root: Path) -> Iterator[Subject]:
    """All stages and models that have a folder, then those of the newest plan, whose labels are not cut."""
    folders = {}
    for kind in ("models", "stages"):
        for path in sorted((root / kind).glob("*-*")):
            folders[path.name[-ID_LENGTH:]] = path
            yield Subject(path.name[-ID_LENGTH:], path.name[: -ID_LENGTH - 1], path)
    for path in sorted((root / "sweeps").glob(f"*/{PLAN}"))[-1:]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            for stage in parse_line(path.read_text(encoding="utf-8"))["stages"]:
                name = f"{stage['label'][:LABEL_LENGTH]}-{stage['id']}"
                yield Subject(stage["id"], stage["label"], folders.get(stage["id"], root / "stages" / name))
