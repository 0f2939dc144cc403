"""Configurations made entry by entry, for the many points of a sweep.

Hydra composes every combination of choices anew from some thirty files, which takes 0.15 s. But it merges key by key:
what becomes of the entry `model` is decided by the files that are put below `model` and by what the files of the whole
(conf/config.yaml, a study, conf/local) say under that key. So an entry is merged once for each list of files that it is
made of. Which files, and in which order, is Hydra's own list of defaults, which takes it 0.03 s to make; a typed choice
that decides about its own entry alone, `model=llama13b`, replaces the files of its group in the list without it.

Exact or not at all: wherever anything is unusual or wrong, the answer is None, and Hydra composes the whole
(`compose.py`).
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, NamedTuple

from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from sft_sweeps.config.schema import Config

KEYS = tuple(field.name for field in fields(Config))
OF_THE_WHOLE = ("study", "debug", "grid")  # groups whose files may say anything, or override other groups' choices
CHOICE = re.compile(r"\w[\w.-]*")
REFERRED = re.compile(r"\$\{(\w+)")
BEYOND = re.compile(r"\$\{\s*(?:\.|hydra|oc\.(?!env:))")  # references of which the text does not say to which entry


class File(NamedTuple):
    """A file of conf/, and where in the configuration its content is put; "": it is about the whole."""

    path: str
    package: str

    @property
    def entry(self) -> str:
        return self.package.partition(".")[0]


@dataclass(frozen=True)
class Listed:
    """Hydra's list of defaults: the files in the order of merging, and the choice of each group.

    `fixed` are entries in which only Hydra may replace files: another file chooses for a group nested in them, or a
    choice is interpolated.
    """

    files: tuple[File, ...]
    choices: Mapping[str, str | None]
    fixed: frozenset[str] = frozenset()


class Entries:
    """One for each process: files, defaults lists and merged entries are kept."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.main = loader, str(master.hydra.job.config_name)
        self.hydra = tuple(map(str, master.hydra.overrides.hydra))
        _, self.repository = loader._parse_overrides_and_create_caching_repo(self.main, list(self.hydra))
        self.parse = cache(OverridesParser.create().parse_override)
        self.listed, self.asked = cache(self._listed), cache(self._asked)
        self.files_of, self.files = cache(self._files_of), cache(self._files)
        self.merged, self.node, self.part = cache(self._merged), cache(self._node), cache(self._part)
        self.refers_to, self.alone = cache(self._refers_to), cache(self._alone)

    def config(self, groups: Sequence[str], values: Sequence[str]) -> Config | None:
        """The configuration of some choices and values; None where only Hydra can tell."""
        if any(text.startswith(("+", "~")) or "$" in text for text in (*groups, *values)):
            return None
        own: dict[str, list[str]] = {}
        for value in values:
            own.setdefault(self.parse(value).key_or_group.partition(".")[0], []).append(value)
        listed = self.listed(tuple(groups))
        files = self.files(listed.files) if listed else None
        if files is None or not own.keys() <= files.keys():
            return None
        if any(name in own for key in files for name in self.needed(key, files) if name != key):
            return None  # what refers to a value follows it
        parts = {key: self.part(key, self.sources(key, files), tuple(own.get(key, ()))) for key in files}
        return Config(**{key: copied(value) for key, value in parts.items()})

    def _listed(self, groups: tuple[str, ...]) -> Listed | None:
        """The list of defaults of some choices, by that of the fewest of them that Hydra must be asked for."""
        single = {text: own for text in groups if (own := self.own_files(text))}
        try:
            listed = self.asked(tuple(text for text in groups if text not in single))
        except HydraException:  # the default in the place of a typed choice may not do
            listed = None
        for text, own in single.items():
            listed = self.replaced(listed, text, own) if listed else None
        return listed or self.asked(groups)

    def _asked(self, groups: tuple[str, ...]) -> Listed | None:
        """As Hydra makes it; None where a file puts something where the schema has no entry."""
        found = self.defaults(self.main, (*self.hydra, *groups), with_hydra=True)
        files = tuple(_file(one) for one in found.defaults if one.package.partition(".")[0] != "hydra")
        known = {"hydra", *KEYS}
        at_top = {str(key) for file in files if not file.package for key in self.load(file).config}
        if not at_top <= known or not {file.entry for file in files if file.package} <= known:
            return None  # Hydra refuses such a key
        interpolated = any("${" in repr(one) for file in files for one in self.load(file).defaults_list)
        fixed = KEYS if interpolated else _fixed(found.overrides.override_choices)
        return Listed(files, dict(found.overrides.known_choices), frozenset(fixed))

    def own_files(self, text: str) -> tuple[File, ...] | None:
        """The files of a typed choice, where they are of its entry alone."""
        override = self.parse(text)
        group, choice = override.get_key_element(), override.value()
        if group not in KEYS or group in OF_THE_WHOLE or not isinstance(choice, str) or not CHOICE.fullmatch(choice):
            return None
        return self.files_of(group, choice)

    def _files_of(self, group: str, choice: str) -> tuple[File, ...] | None:
        """Of a choice of one group; None where a file of it says something of others."""
        try:
            found = self.defaults(f"{group}/{choice}", (), with_hydra=False)
        except HydraException:  # of a default that it overrides in other files, say
            return None
        files = tuple(map(_file, found.defaults))
        return files if all(self.alone(file, group) for file in files) else None

    def _alone(self, file: File, group: str) -> bool:
        """Whether a file is put into that entry alone, and neither decides about another's nor is decided by one."""
        loaded = self.load(file)
        return file.entry == group and loaded.header["package"] is None and not any(map(_decides, loaded.defaults_list))

    def replaced(self, listed: Listed, text: str, own: tuple[File, ...]) -> Listed | None:
        """The list with the files of a typed choice's group replaced; None where only Hydra knows how."""
        group = text.partition("=")[0]
        places = [n for n, file in enumerate(listed.files) if file.entry == group]
        together = bool(places) and places == list(range(places[0], places[-1] + 1))
        if not together or group in listed.fixed or not all(self.alone(listed.files[n], group) for n in places):
            return None
        files = (*listed.files[: places[0]], *own, *listed.files[places[-1] + 1 :])
        return replace(listed, files=files)

    def defaults(self, name: str, overrides: tuple[str, ...], *, with_hydra: bool) -> Any:
        """Hydra's own list of defaults of a file."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a group's file has no _self_, which matters in a main file only
            return create_defaults_list(
                repo=self.repository,
                config_name=name,
                overrides_list=[self.parse(text) for text in overrides],
                prepend_hydra=with_hydra,
                skip_missing=False,
            )

    def load(self, file: File) -> Any:
        return self.repository.load_config(file.path)

    def _files(self, listed: tuple[File, ...]) -> dict[str, tuple[File, ...]]:
        """Those of the files that say something of each entry."""
        whole = {file: set(map(str, self.load(file).config)) for file in listed if not file.package}
        return {key: tuple(f for f in listed if f.entry == key or key in whole.get(f, ())) for key in KEYS}

    def _merged(self, key: str, files: tuple[File, ...]) -> DictConfig:
        """A configuration of one entry, merged as Hydra merges the whole."""
        config = OmegaConf.create()
        for file in files:
            default = ResultDefault(config_path=file.path, package=file.package)
            loaded = self.loader._load_single_config(default, self.repository).config
            config.merge_with(loaded if file.package else OmegaConf.masked_copy(loaded, key))
        return config

    def _refers_to(self, key: str, files: tuple[File, ...]) -> set[str]:
        """Other entries, by `${model.gpus}`; ValueError where the text does not tell which."""
        text = OmegaConf.to_yaml(self.merged(key, files))
        if BEYOND.search(text):
            raise ValueError(f"{key} refers to what its text does not name")
        return set(REFERRED.findall(text)) & set(KEYS) - {key}

    def needed(self, key: str, files: Mapping[str, tuple[File, ...]]) -> list[str]:
        """The entry and those that it refers to, directly or not."""
        names = [key]
        for name in names:
            names += sorted(self.refers_to(name, files[name]) - set(names))
        return names

    def sources(self, key: str, files: Mapping[str, tuple[File, ...]]) -> tuple[tuple[str, tuple[File, ...]], ...]:
        """All that the value of an entry depends on: by it, values are shared by points."""
        return tuple((name, files[name]) for name in self.needed(key, files))

    def _node(self, sources: tuple[tuple[str, tuple[File, ...]], ...]) -> DictConfig:
        """An entry, and what it refers to, with its references resolved."""
        config = OmegaConf.create()
        for name, files in sources:
            config.merge_with(self.merged(name, files))
        OmegaConf.resolve(config)
        return config

    def _part(self, key: str, sources: tuple[tuple[str, tuple[File, ...]], ...], overrides: tuple[str, ...]) -> Any:
        """The value of an entry with values set in it."""
        entry = OmegaConf.masked_copy(self.node(sources), key)
        self.loader._apply_overrides_to_config([self.parse(override) for override in overrides], entry)
        value = entry[key]
        return OmegaConf.to_object(value) if OmegaConf.is_config(_schema()[key]) else _typed(key, value)


@cache
def _schema() -> DictConfig:
    made: DictConfig = OmegaConf.structured(Config)
    return made


def _typed(key: str, value: Any) -> Any:
    """A single value as its entry has it, which a copy of the entry alone has forgotten: name=5 is a text."""
    _schema()[key] = value
    return _schema()[key]


def _file(default: Any) -> File:
    return File(default.config_path, default.package or "")


def _fixed(overridden: Iterable[str]) -> Iterator[str]:
    """The entries into which overridden choices like source@data.sources.math put something."""
    for key in overridden:
        group, _, package = key.partition("@")
        if package:
            yield package.removeprefix("_global_.").partition(".")[0]
        elif "/" in group and not group.startswith("hydra/"):
            yield from KEYS


def _decides(default: Any) -> bool:
    """Whether a default decides about another one's choice, or is decided by one."""
    return default.is_override() or "${" in repr(default)


def copied(value: Any) -> Any:
    """A copy that shares nothing which can be changed: dataclasses, lists, dictionaries and scalars.

    copy.deepcopy takes ten times as long, which the points of a sweep pay seventeen times each.
    """
    if is_dataclass(value) and not isinstance(value, type):
        made = object.__new__(type(value))
        made.__dict__.update({name: copied(one) for name, one in vars(value).items()})
        return made
    if isinstance(value, dict):
        return {key: copied(one) for key, one in value.items()}
    return [copied(one) for one in value] if isinstance(value, list) else value
