"""From `data.*` to exact sources with their fractions: by pin, by the content of the user's file, or as generated."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from sft_sweeps.config import mixtures, new_sources
from sft_sweeps.config.fractions import parse_fraction
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import CleanConfig, SourceConfig
from sft_sweeps.data import columns, groups, mini, roles, row_keys, row_scan
from sft_sweeps.data import fields as row_fields
from sft_sweeps.data.formats import CHOSEN
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_pin
from sft_sweeps.files.encoded import ACCOUNT, ENCODED, read_account
from sft_sweeps.identity import VERSIONS, canonical
from sft_sweeps.spec.data import NO_TURN_RULES, Cleaning, Component, Source, TurnRules, count_examples
from sft_sweeps.spec.training import Recipe


def data_folder(config: Config) -> Path:
    """Where the files of sources and benchmarks lie."""
    return Path(config.data.folder or Path(config.output_dir) / "data")


def components(config: Config, recipe: Recipe, tokenizer: str) -> tuple[list[Component], list[str]]:
    """Every source with its fraction, and notes on files that take the place of pinned ones."""
    parts, notes = [], []
    for slot in config.data.sources:
        part, note = _component(config, slot, recipe, tokenizer)
        parts.append(part)
        notes += [f"data.sources.{slot}: {note}"] if note else []
    names = [part.source.name for part in parts]
    if len(set(names)) < len(names):
        raise RequestError(f"two sources would be called {max(names, key=names.count)}; rename one of the files")
    return parts, notes


def _component(config: Config, slot: str, recipe: Recipe, tokenizer: str) -> tuple[Component, str]:
    """One source with its fraction, and a note or ""; RequestError where the fraction takes no example."""
    data, entry = config.data, config.data.sources[slot]
    key, text = mixtures.fraction_of(data, slot)
    fraction = parse_fraction(text, key)
    exact, note = source(entry, data_folder(config), slot, data.bug_compatible)
    # Of the file's rows, which stay the same: a source that was prepared counts its examples.
    limit, no_limit = mixtures.limited(data, exact.name, count_examples(exact.rows, fraction, data.heldout))
    note = "; ".join(filter(None, (new_sources.note(entry, slot), note, no_limit)))
    if account := account_of(exact, recipe, tokenizer, Path(config.output_dir)):
        exact, counted = _as_prepared(exact, account)
        note = "; ".join(filter(None, (note, counted)))
    component = Component(
        exact,
        fraction,
        data.seed,
        data.heldout,
        limit=limit,
        repeat=mixtures.setting(data, "repeat", slot)[1] or 1,
        weight=mixtures.weight_of(data, slot),
    )
    if not exact.rows and exact.provisional:
        raise RequestError(
            f"data.sources.{slot}: there is no file {exact.path}; name another, or its number of rows to plan without "
            f"it: data.sources.{slot}.rows=N"
        )
    if not component.examples:
        raise RequestError(f"{key}={text} takes no example of {exact.path}, which has {exact.rows:,} rows")
    return component, note


def _as_prepared(exact: Source, account: dict[str, Any]) -> tuple[Source, str]:
    """The source with the counts of its encoding, and a note or "" where the examples are not as many as the rows."""
    examples = account["examples"]
    note = f"{examples:,} examples, as prepared ({exact.rows_from}: {exact.rows:,} rows)"
    mean_tokens = account["tokens"] / max(examples, 1)
    prepared = replace(exact, rows=examples, rows_from="prepared", mean_tokens=mean_tokens)
    return prepared, note if examples != exact.rows else ""


def account_of(exact: Source, recipe: Recipe, tokenizer: str, root: Path) -> dict[str, Any] | None:
    """The account of a source that was encoded before, for this tokenizer if there is one of it."""
    identity = {name: value for name, value in canonical(exact).items() if name != "name"}
    if exact.rows_from == "generated":
        return None
    best = None
    for path in sorted((root / ENCODED).glob(f"*/{ACCOUNT}")):
        account = read_account(path.parent) or {}
        if not isinstance(of := account.get("identity"), dict):
            continue
        of = {name: value for name, value in of.items() if name != "name"}
        fits = (account.get("template"), account.get("max_length")) == (recipe.template, recipe.max_length)
        if of == identity and fits and (best is None or account.get("tokenizer") == tokenizer):
            best = account
    return best


def source(entry: SourceConfig, folder: Path, slot: str, bug_compatible: bool = False) -> tuple[Source, str]:
    """The exact source, and a note or "" where a file takes the place of the declared one, under its own name."""
    pin = hub_pin(entry) if entry.hub else entry.content
    named = columns.typed(entry.columns)
    declared = Source(
        name=entry.name,
        content=pin,
        format=columns.format_of(named) or entry.format,
        ability=entry.ability,
        role=cast(Literal["specialized", "general"], entry.role),
        rows=entry.rows,
        path=str(_path(entry, folder)),
        mean_tokens=entry.mean_tokens,
        max_bad_fraction=entry.max_bad_fraction,
        slot=slot,
        declared_rows=entry.rows if pin else 0,
        bug_compatible=bug_compatible,
        fields=row_fields.pinned_version(pin, bug_compatible) if pin else 0,
        columns=named,
        group_by=entry.group_by or "",
        pre_split=entry.pre_split,
        groups=_groups(entry.group_by or "", entry.pre_split, bool(pin) and pin not in row_keys.WITHOUT),
        licence=entry.licence,
        origin=f"data set {entry.hub} of the hub" if entry.hub else entry.origin,
    )
    declared = _ruled(declared, entry, row_scan.ALL if pin and pin not in row_keys.WITHOUT else row_scan.NONE)
    if entry.generated:
        version = VERSIONS[mini.component(entry.name)]
        content = f"generated:{entry.name}:version={version}:rows={entry.rows}:seed={entry.seed}"
        made = replace(declared, content=content, path="", rows_from="generated", seed=entry.seed)
        return replace(_ruled(made, entry, row_scan.NONE), groups="", fields=0), ""
    if pin and not entry.path:
        return declared, ""
    if not Path(declared.path).is_file():
        return replace(declared, content=f"provisional:{entry.path or entry.file}"), ""
    return _of_file(declared, entry)


def _of_file(declared: Source, entry: SourceConfig) -> tuple[Source, str]:
    """The source that the file at its path is: the pinned one where the contents agree."""
    path, pin = Path(declared.path), declared.content
    try:
        content, rows = content_pin(path, pin, f"source {declared.name}: {path}")
        if content == pin:
            return declared, ""
        # By columns, or on request, rows are read of which the scans of a file's keys know nothing.
        own = bool(declared.columns) or declared.format == CHOSEN
        version = VERSIONS["fields"] if own else row_fields.version(path, declared)
        found = row_scan.ALL if version >= row_fields.SPELLINGS else row_scan.traits(path, _roles(entry))
        differ = groups.differ_from_ids(path, rows, declared)
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} of source {declared.name} cannot be read: {error}") from error
    except RequestError as error:  # of a reader that looks at files, whosever they are
        raise RequestError(re.sub(r"^source \w+:", f"source {declared.name}:", str(error))) from error
    grouped = _groups(declared.group_by, declared.pre_split, differ)
    counted = replace(declared, content=content, rows=rows, rows_from="counted", declared_rows=0)
    counted = _ruled(replace(counted, groups=grouped, fields=version), entry, found)
    if not pin:
        return counted, f"{path.name} with {rows:,} rows is used"
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", path.name.partition(".")[0])[:40] or "file"
    pinned = f"the pinned {declared.name} ({declared.rows:,} rows)"
    other = replace(counted, name=name, licence="", origin="")  # what is said of the pinned file is not said of it
    return other, f"{path.name} with {rows:,} rows is used in place of {pinned}"


def _ruled(source: Source, entry: SourceConfig, found: row_scan.Traits) -> Source:
    """The source with the rules that its rows give something to do; of the others, what was done before there were any.

    FastChat knows no such rule.
    """
    if source.bug_compatible:
        found = row_scan.NONE
    rendered = entry.tool_turns == "render" and (found.tools or found.calls)
    breaks = found.breaks or found.later_system or (found.tools and entry.tool_turns == "cut") or rendered
    rules = TurnRules(
        system=cast(Any, entry.system_turns) if found.system or found.later_system else NO_TURN_RULES.system,
        tools=cast(Any, entry.tool_turns) if found.tools or rendered else NO_TURN_RULES.tools,
        roles=_roles(entry) if found.names else (),
    )
    read = found.keys or found.names or found.later_system
    return replace(
        source,
        cleaning=cleaning(entry.clean if breaks else replace(entry.clean, role_break=Cleaning().role_break)),
        row_keys=VERSIONS["row_keys"] if read else 0,
        turns=NO_TURN_RULES if rules == NO_TURN_RULES else rules,
    )


def _roles(entry: SourceConfig) -> tuple[tuple[str, str], ...]:
    return roles.named(entry.roles)


def _groups(group_by: str, pre_split: bool, differ: bool) -> str:
    """The rule by which a source's rows are grouped, and its version; "" where that is no other than before."""
    version = VERSIONS["groups"]
    if group_by:
        return f"{version + 1}:group_by={group_by}"  # since then an empty cell is none
    return f"{version}:{'pre_split' if pre_split else 'rows'}" if differ else ""


def file_of(entry: SourceConfig, config: Config) -> Path:
    """Where a source's file lies, or is fetched to."""
    return _path(entry, data_folder(config))


def _path(entry: SourceConfig, folder: Path) -> Path:
    if entry.path:
        return Path(entry.path)
    revision, subset = entry.revision[:12], entry.subset or "default"
    return folder / (entry.file or f"hub/{entry.hub.replace('/', '--')}-{revision}-{subset}-{entry.split}.parquet")


def hub_pin(entry: SourceConfig) -> str:
    """What a data set of the hub is, exactly."""
    return f"hub:{entry.hub}@{entry.revision}:{entry.subset}:{entry.split}"


def cleaning(entry: CleanConfig) -> Cleaning | None:
    """The exact rules, the tags by the content of their file; None where no rule is on."""
    values = {f.name: getattr(entry, f.name) for f in fields(entry) if f.name != "tags_file"}
    rules: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    tags, path = "", entry.tags_file or ""
    if path:
        there = Path(path).is_file()
        tags = content_pin(Path(path), called=f"clean.tags_file={path}")[0] if there else f"provisional:{path}"
    exact = Cleaning(**rules, tags=tags, tags_path=path)
    return None if exact == Cleaning() else exact
