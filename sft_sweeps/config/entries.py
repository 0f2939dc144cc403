"""Configurations made entry by entry, for the many points of a sweep.

Hydra composes every combination of choices anew from some thirty files, which takes 0.15 s. But it merges key by key:
what becomes of the entry `model` is decided by the files that are put below `model` and by what the files of the whole
(conf/config.yaml, a study, conf/local) say under that key. So an entry is merged once for each list of files that it is
made of, and a choice that is typed, `model=llama13b`, replaces the files of its group in Hydra's own list of defaults.

Exact or not at all: where one choice may decide about another's files (an interpolated or overridden default, a package
of its own), or anything is wrong, the answer is None, and Hydra composes the whole (`compose.py`).
"""

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, NamedTuple

from hydra._internal.defaults_list import create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
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
    """The files of one choice of `OF_THE_WHOLE`, in the order of merging, and the choice of each group."""

    files: tuple[File, ...]
    choices: Mapping[str, str | None]


class Entries:
    """One for each process: files, defaults lists and merged entries are kept."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.main = loader, str(master.hydra.job.config_name)
        self.hydra = tuple(map(str, master.hydra.overrides.hydra))
        _, self.repository = loader._parse_overrides_and_create_caching_repo(self.main, list(self.hydra))
        self.parse = cache(OverridesParser.create().parse_override)
        self.listed, self.files_of, self.files = cache(self._listed), cache(self._files_of), cache(self._files)
        self.merged, self.node, self.part = cache(self._merged), cache(self._node), cache(self._part)
        self.refers_to = cache(self._refers_to)

    def config(self, groups: Sequence[str], values: Sequence[str]) -> Config | None:
        """The configuration of some choices and values; None where only Hydra can tell."""
        split = self.split(groups)
        if split is None or any(text.startswith(("+", "~")) or "$" in text for text in values):
            return None
        own: dict[str, list[str]] = {}
        for value in values:
            own.setdefault(self.parse(value).key_or_group.partition(".")[0], []).append(value)
        files = self.files(*split)
        if files is None or not own.keys() <= files.keys():
            return None
        if any(name in own for key in files for name in self.needed(key, files) if name != key):
            return None  # what refers to a value follows it
        parts = {key: self.part(key, self.sources(key, files), tuple(own.get(key, ()))) for key in files}
        return Config(**{key: copied(value) for key, value in parts.items()})

    def choices(self, groups: Sequence[str]) -> dict[str, str | None] | None:
        """The choice of each group, as Hydra tells it; None where only Hydra can tell."""
        split = self.split(groups)
        if split is None or self.files(*split) is None:
            return None
        listed = self.listed(split[0])
        return {**listed.choices, **dict(split[1])} if listed else None

    def split(self, groups: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]] | None:
        """Choices of groups about the whole, and those of one entry each."""
        whole, single = [], []
        for text in groups:
            override = self.parse(text)
            group, choice = override.get_key_element(), override.value()
            if group in OF_THE_WHOLE:
                whole.append(text)
            elif group in KEYS and isinstance(choice, str) and CHOICE.fullmatch(choice):
                single.append((group, choice))
            else:
                return None
        return tuple(whole), tuple(single)

    def _files(self, whole: tuple[str, ...], single: tuple[tuple[str, str], ...]) -> dict[str, tuple[File, ...]] | None:
        """Those that each entry is made of."""
        listed = self.listed(whole)
        files = listed.files if listed else None
        for group, choice in single:
            own = self.files_of(group, choice)
            files = _replaced(files, group, own) if files and own else None
        return {key: tuple(self.about(key, files)) for key in KEYS} if files else None

    def _listed(self, whole: tuple[str, ...]) -> Listed | None:
        """Hydra's list of defaults; None where a choice in it may depend on another one."""
        found = self.defaults(self.main, (*self.hydra, *whole), with_hydra=True)
        files = tuple(_file(one) for one in found.defaults if one.package.partition(".")[0] != "hydra")
        overridden = [key for key in found.overrides.override_choices if not key.startswith("hydra/")]
        plain = all(one.entry in ("", *KEYS) for one in files) and not any(set(key) & set("@/") for key in overridden)
        if not plain or any(_interpolated(one) for file in files for one in self.load(file).defaults_list):
            return None
        known = {"hydra", *KEYS}
        if any(not set(map(str, self.load(file).config)) <= known for file in files if not file.package):
            return None  # Hydra refuses such a key
        return Listed(files, dict(found.overrides.known_choices))

    def _files_of(self, group: str, choice: str) -> tuple[File, ...] | None:
        """Of a choice of one group; None where they are not of that entry alone, or decide about others."""
        found = self.defaults(f"{group}/{choice}", (), with_hydra=False)
        files = tuple(map(_file, found.defaults))
        for file in files:
            loaded = self.load(file)
            beyond = any(one.is_override() or _interpolated(one) for one in loaded.defaults_list)
            if file.entry != group or loaded.header["package"] is not None or beyond:
                return None
        return files

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

    def about(self, key: str, files: Iterable[File]) -> Iterator[File]:
        """Those of the files that say something of an entry."""
        for file in files:
            if file.entry == key or (not file.package and key in self.load(file).config):
                yield file

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
        return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _file(default: Any) -> File:
    return File(default.config_path, default.package or "")


def _interpolated(default: Any) -> bool:
    """Whether a default's group, choice or package is decided by another choice."""
    return "${" in repr(default)


def _replaced(files: tuple[File, ...], group: str, own: tuple[File, ...]) -> tuple[File, ...] | None:
    """The files with those of a group replaced; None where they do not stand together."""
    places = [n for n, file in enumerate(files) if file.entry == group]
    if not places or places != list(range(places[0], places[-1] + 1)):
        return None
    return (*files[: places[0]], *own, *files[places[-1] + 1 :])


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
