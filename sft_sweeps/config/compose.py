"""From overrides to configurations: entry by entry where that is exact (`entries.py`), else composed whole by Hydra."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from sft_sweeps.config import choices, containers, new_sources, own_names
from sft_sweeps.config.checks import unknown_keys
from sft_sweeps.config.entries import Entries
from sft_sweeps.config.resolve_model import with_own_shape
from sft_sweeps.config.schema import Config
from sft_sweeps.errors import RequestError


def _completed(config: Config) -> Config:
    """The configuration with what new sources and a model of one's own say of themselves, where nothing is typed."""
    if problem := next(containers.problems(config), ""):
        raise RequestError(problem)
    new_sources.name_in(config)
    return replace(config, model=with_own_shape(config.model))


def _parsed(text: str) -> Override:
    """An override; a key that ends in a name of the user's own need not be there."""
    override = OverridesParser.create().parse_override(text)
    if override.type == OverrideType.CHANGE and own_names.is_own(text):
        return replace(override, type=OverrideType.FORCE_ADD)
    return override


# What composing entry by entry may raise, which composing the whole then says in Hydra's words.
REFUSED = (HydraException, OmegaConfBaseException, ValueError, OverflowError)


class Composer:
    """Composes the points of one launch; what points share is composed once."""

    def __init__(self, loader: Any, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.entries = Entries(loader, master)
        self.parse = cache(_parsed)
        self.exists = cache(loader.repository.group_exists)
        self.composed: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any]]] = {}

    def config(self, overrides: Sequence[str]) -> Config:
        """The configuration of some overrides; raises what Hydra or OmegaConf says of them, or RequestError."""
        if config := self.quick(overrides):
            return _completed(config)
        node = self.whole(overrides)
        added = any(o.startswith("+") for o in overrides)  # only these get past the schema
        if added and (unknown := unknown_keys(node, Config)):
            raise RequestError("\n".join(unknown))
        return _completed(cast(Config, OmegaConf.to_object(node)))

    def quick(self, overrides: Sequence[str]) -> Config | None:
        """The same entry by entry; None where that may not be exact, or where anything is wrong."""
        try:
            groups = self.groups(overrides)
            return self.entries.config(groups, [text for text in overrides if text not in groups])
        except REFUSED:
            return None

    def choices(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The choice of each group with some overrides."""
        groups = self.groups(overrides)
        try:
            listed = self.entries.asked(groups)
        except REFUSED:
            listed = None
        return dict(listed.choices) if listed else self.of_groups(groups, overrides)[1]

    def whole(self, overrides: Sequence[str]) -> DictConfig:
        """As Hydra composes it; group choices are composed once and copied."""
        groups = self.groups(overrides)
        config = copy.deepcopy(self.of_groups(groups, overrides)[0])
        values = [self.parse(override) for override in overrides if override not in groups]
        self.loader._apply_overrides_to_config(values, config)
        return config

    def of_groups(self, groups: tuple[str, ...], overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any]]:
        """The configuration and choices of groups alone; `overrides` are named where they are wrong."""
        if groups not in self.composed:
            try:
                config = self.loader.load_sweep_config(self.master, list(groups))
            except ValueError as error:  # Hydra's own words for model=1, which it reports with a traceback
                raise RequestError(f"{' '.join(overrides)}: {error}") from error
            chosen = dict(config.hydra.runtime.choices)
            with open_dict(config):
                config.pop("hydra")
            self.composed[groups] = config, chosen
        return self.composed[groups]

    def groups(self, overrides: Sequence[str]) -> tuple[str, ...]:
        """Those of the overrides that choose files."""
        parsed = {override: self.parse(override) for override in overrides}
        chosen = tuple(o for o in overrides if parsed[o].is_delete() or self.exists(parsed[o].key_or_group))
        if problem := next(filter(None, (choices.no_name(parsed[o]) for o in chosen)), ""):
            raise RequestError(problem)
        return chosen
