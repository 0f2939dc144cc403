"""A source that keys alone make: `+data.sources.extra.path=FILE`, where the chosen data have no source `extra`.

Hydra adds no key below a name that is not there; so `+source@data.sources.extra=file`, which can be typed too, goes
before it (conf/source/file.yaml). What is not typed of the source is taken from its slot: `extra` is its name and its
ability, and only `general` has the role of general data. The plan says so.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig

CHOICE = "file"  # of conf/source
ORIGIN = "a file of yours"  # of its source
TYPED = re.compile(r"\+data\.sources\.([\w-]+)[.=].*", re.DOTALL)
IN_FILE = re.compile(r"@(?:data\.)?sources\.([\w-]+)")
GENERAL = "general"
KEY = re.compile(
    r"\+?data\.sources\.(?P<slot>[\w-]+)(?:\.(?P<key>(?P<name>\w+)[\w.]*))?(?:=(?P<value>[^{]*))?", re.DOTALL
)
NAMES = {field.name for field in fields(SourceConfig)}


def with_files(overrides: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The overrides, with the file that a new source begins with before the first key of it.

    A source is new where the typed data have no such slot; without typed data, where no file of conf/data has.
    """
    named = {found[1] for text in overrides if (found := TYPED.fullmatch(text))}
    new = named - _chosen(overrides) - (slots(_data_files(overrides, folders)) if named else set())
    made: list[str] = []
    for text in overrides:
        found = TYPED.fullmatch(text)
        if not found or found[1] not in new:
            made.append(text)
            continue
        if (choice := f"+source@data.sources.{found[1]}={CHOICE}") not in made:
            made.append(choice)
        made.append(text.removeprefix("+"))  # the file has every key
    return made


def _chosen(overrides: Iterable[str]) -> set[str]:
    """The slots for which a file is typed: source@data.sources.math=gsm8k."""
    return {found[1] for text in overrides if (found := IN_FILE.search(text.partition("=")[0]))}


def _data_files(overrides: Iterable[str], folders: Sequence[Path]) -> list[Path]:
    """The files of conf/data that may be chosen: the typed one, or any."""
    files = [path for folder in folders for path in folder.glob("data/*.yaml")]
    typed = [text.removeprefix("data=") for text in overrides if text.startswith("data=")]
    return [path for path in files if path.stem == typed[-1]] or files if typed else files


def slots(files: Iterable[Path]) -> set[str]:
    """The names under which files of conf/data have their sources."""
    return {slot for path in files for slot in IN_FILE.findall(path.read_text(encoding="utf-8", errors="replace"))}


def name_in(config: Config) -> None:
    """Take what is not typed of new sources from their slots."""
    for slot, entry in config.data.sources.items():
        if entry.origin == ORIGIN:
            entry.name = entry.name or slot
            entry.ability = entry.ability or slot
            entry.role = entry.role or (GENERAL if slot == GENERAL else "specialized")


def hint(override: str) -> str:
    """What to type in place of a key of a source that is not there; empty for another key."""
    found = KEY.fullmatch(override)
    if not found or (found["name"] and found["name"] not in NAMES):
        return ""
    typed = f"data.sources.{found['slot']}.{found['key'] or 'path'}={found['value'] or 'FILE'}"
    return f"for a new source type +source@data.sources.{found['slot']}={CHOICE} {typed}"


def note(entry: SourceConfig, slot: str) -> str:
    """What a plan says of such a source; empty for others."""
    if entry.origin != ORIGIN:
        return ""
    key = f"data.sources.{slot}"
    return f"a {entry.role} source of ability {entry.ability} (others: {key}.ability=NAME, {key}.role=general)"
