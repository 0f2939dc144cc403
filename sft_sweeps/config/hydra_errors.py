"""What Hydra and OmegaConf say of a wrong command line, in one line: key, value, what is valid, what to type."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sft_sweeps.config import new_sources
from sft_sweeps.config.choices import groups
from sft_sweeps.config.keys import nearest_key, valid_keys
from sft_sweeps.errors import nearest

# ValueError: Hydra's own words for `model=1`; OverflowError: a whole number that no float holds. A file of conf/ may be
# no YAML, or (OSError) YAML of no mapping.
REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, ValueError, OverflowError, OSError)
KINDS = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false", "bool": "true or false"}
NO_KEY = re.compile(
    r"Could not[^'\n]*'([^']+)'|Key '([^']+)' (?:is )?not in|config group '([^']+)' does not exist", re.IGNORECASE
)
MISSING = re.compile(r"'(?P<group>[\w/]+)/(?P<choice>[^'/]*)'")
VALUE = re.compile(
    r"Value '(?P<value>.*?)'(?: of type '\w+')? (?:could not be converted to|is not a valid) (?P<kind>\w+)", re.DOTALL
)
NO_SOURCE = "is not a subclass of SourceConfig"
OF_SOURCES = re.compile(r"override (data\.\w+)=(\S+)\s+Cannot assign \w+ to Dict")
LACKING = re.compile(r"missing mandatory value: \w+")
FULL_KEY = re.compile(r"full_key: (\S+)")
IN_WHOLE = re.compile(r"In '((study|debug)/[^']+)': \w+ raised while composing")  # files of keys of the whole
PACKAGE_LINE = "# @package _global_"


def explain(error: BaseException, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """What is wrong with the overrides, that were typed or stand in a study."""
    text = f"{error}\n{error.__cause__ or ''}"
    if keyless := next((override for override in overrides if override.startswith("=")), ""):
        return unreadable(keyless, overrides)
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return _unreadable_file(error, folders)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override, overrides)
    if isinstance(error, MissingConfigException) and (found := MISSING.search(str(error))):
        return _no_choice(found["group"], found["choice"], error.options or groups(folders).get(found["group"], []))
    key = _key_of(text)
    if isinstance(error, OverflowError):
        return f"{key} must be a number, and not one of so many digits"
    if found := VALUE.search(text):
        return f"{key}={found['value']} must be {KINDS.get(found['kind'], found['kind'])}"
    if NO_SOURCE in text and (source := next(filter(None, map(new_sources.hint, overrides)), "")):
        return f"there is no such source in these data; {source}"
    if found := OF_SOURCES.search(text):
        return f"{found[1]}={found[2]} speaks of no source; name one, or an ability: {found[1]}.math={found[2]}"
    if LACKING.search(text):
        return f"{key} has no value; type {key}=VALUE"
    if (found := IN_WHOLE.search(text)) and (problem := _without_package(found[1], found[2], folders)):
        return problem
    typed = _unknown(text, overrides)
    if typed and (problem := unknown(typed, folders)):
        override = next((one for one in overrides if one.partition("=")[0] == typed), typed)
        source = new_sources.hint(override)
        return f"{problem} ({source})" if source else problem
    first, _, cause = text.partition("\n")
    return f"{first.rstrip('.')}: {cause.partition(chr(10))[0]}" if cause.strip() else first


def _unreadable_file(error: OSError, folders: Sequence[Path]) -> str:
    """Which file of the configuration cannot be used: OmegaConf does not name one that is a number or a yes."""
    if error.filename:
        return f"{error.filename} cannot be read ({error.strerror})"
    for path in (path for folder in folders for path in sorted(folder.rglob("*.yaml"))):
        with contextlib.suppress(OSError, ValueError, YAMLError):
            value = yaml.safe_load(path.read_text(encoding="utf-8"))
            if not isinstance(value, dict | None):
                return f"{path} holds {value!r:.60}; a file of a configuration holds keys with their values, KEY: VALUE"
    return str(error)


def _without_package(choice: str, group: str, folders: Sequence[Path]) -> str:
    """That a file lacks the line which Hydra reads for where its keys stand; empty where it has one."""
    path = next((path for folder in folders if (path := folder / f"{choice}.yaml").is_file()), None)
    if path is None or "@package" in path.read_text(encoding="utf-8", errors="replace"):
        return ""
    return f"{path} must begin with the line {PACKAGE_LINE}: without it its keys are taken for those of {group}"


def unknown(key: str, folders: Sequence[Path]) -> str:
    """That there is no such key or group, and the nearest one; empty where there is one."""
    bare = key.lstrip("+~").partition("@")[0]
    valid = list(groups(folders)) if "@" in key else valid_keys(folders)
    if bare in valid:
        return f"{key} is no place for the group {bare}; type {bare}=CHOICE" if "@" in key else ""
    if best := nearest_key(bare, valid):
        return f"unknown key {key}; did you mean {best}?"
    group = bare.rpartition(".")[0]
    near = [one.removeprefix(f"{group}.") for one in valid if one.startswith(f"{group}.")] if group else []
    valid_here = near or list(dict.fromkeys(one.partition(".")[0] for one in valid))
    return f"unknown key {key}; valid here: {', '.join(valid_here)}"


def unreadable(override: str, overrides: Sequence[str]) -> str:
    """How a value must be quoted that Hydra cannot read, or what belongs to it that the shell took apart."""
    key, equals, value = override.partition("=")
    if not key.strip() or (not equals and override.startswith("=")):
        return f"{override} has no key; type KEY=VALUE"
    if equals:
        return f"{override} cannot be read; quote the value twice, for the shell and for Hydra: {_quoted(key, value)}"
    before = overrides[: overrides.index(override)] if override in overrides else ()
    if before and "=" in before[-1]:
        key, _, value = before[-1].partition("=")
        rest = list(overrides[len(before) :])
        end = next((n for n, word in enumerate(rest) if "=" in word), len(rest))
        whole = _quoted(key, " ".join([value, *rest[:end]]))
        return f"{override} is no KEY=VALUE; where it belongs to {before[-1]}, quote the value: {whole}"
    return f"{override} is no KEY=VALUE; type {override}=VALUE"


def _quoted(key: str, value: str) -> str:
    inner = value.strip("'\"").replace('"', '\\"')
    return f"""'{key}="{inner}"'"""


def _no_choice(group: str, choice: str, valid: Sequence[str]) -> str:
    return f"{group}={choice} is unknown; valid: {', '.join(valid)}{nearest(choice, valid, f'{group}=')}"


def _key_of(text: str) -> str:
    """The key that an error is about."""
    found = FULL_KEY.search(text) or re.search(r"'([\w.@/]+)'", text)
    return found[1] if found else "a key"


def _unknown(text: str, overrides: Sequence[str]) -> str:
    """The key that does not exist, as it was typed."""
    found = NO_KEY.search(text)
    if not found:
        return ""
    key = next((group for group in found.groups() if group), "")
    typed = [override.partition("=")[0] for override in overrides]
    return next((one for one in typed if one.lstrip("+~") == key or one.lstrip("+~").startswith(f"{key}@")), key)
