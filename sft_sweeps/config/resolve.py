"""From the text of `conf/` to exact values: one Config in, one Request out. Reads files, writes none.

Sources and weights enter by their declared pins, so that planning needs neither. A file of the user's own
(`data.sources.SLOT.path`) enters by its content: one that matches the pin *is* the pinned source, another one takes
its place under its own hash, with its own count of rows.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from sft_sweeps import PACKAGE
from sft_sweeps.config.checks import MINI_BENCHMARKS, PUBLISHED
from sft_sweeps.config.fractions import fraction_of, parse_fraction
from sft_sweeps.config.schema import BenchmarkConfig, Config, EvaluateConfig, MtBenchConfig
from sft_sweeps.config.source_schema import CleanConfig, SourceConfig
from sft_sweeps.config.train_schema import ModelConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.files import packing
from sft_sweeps.files.content import content_of
from sft_sweeps.files.encoded import ENCODED
from sft_sweeps.identity import VERSIONS, canonical
from sft_sweeps.models import tokenizer as vocabulary
from sft_sweeps.models.pins import tokenizer_of, weights_of
from sft_sweeps.plan.request import Request
from sft_sweeps.spec import Benchmark, Cleaning, Component, Engine, Judge, Model, Recipe, Shape, Source

MINI_TOKENIZER = PACKAGE / "data" / "mini_tokenizer.json"


def request(config: Config) -> Request:
    """The exact values of a checked Config (`config.problems` found nothing); RequestError for what files show."""
    base = model(config.model)
    recipe = Recipe(**{name: getattr(config.train, name) for name in Recipe.__dataclass_fields__})
    recipe = replace(recipe, template=template(recipe.template, base))
    if recipe.loss_reduction != "device_mean":
        recipe = replace(recipe, virtual_devices=0)  # it means nothing there, and must fork no stage
    folder = Path(config.data.folder or Path(config.output_dir) / "data")
    components, notes = [], []
    for slot, entry in config.data.sources.items():
        key, text = fraction_of(config.data, slot)
        found, note = source(entry, folder, slot, config.data.bug_compatible)
        if prepared := account_of(found, recipe, base.tokenizer, Path(config.output_dir)):
            if prepared["examples"] != found.rows:
                counted = f"{prepared['examples']:,} examples, as prepared ({found.rows_from}: {found.rows:,} rows)"
                note = f"{note}; {counted}" if note else counted
            mean = prepared["tokens"] / max(prepared["examples"], 1)
            found = replace(found, rows=prepared["examples"], rows_from="prepared", mean_tokens=mean)
        component = Component(found, parse_fraction(text, key), config.data.seed, config.data.heldout)
        if not component.examples:
            raise RequestError(f"{key}={text} takes no example of {found.path}, which has {found.rows:,} rows")
        components.append(component)
        notes += [f"data.sources.{slot}: {note}"] if note else []
    names = [component.source.name for component in components]
    if len(set(names)) < len(names):
        raise RequestError(f"two sources would be called {max(names, key=names.count)}; rename one of the files")
    k = parse_fraction(config.strategy.k, "strategy.k") if config.strategy.k is not None else None
    return Request(
        model=base,
        components=tuple(components),
        strategy=config.strategy.name,
        k=k,
        recipe=recipe,
        benchmarks=tuple(benchmarks(config, components, recipe.template)),
        engine=Engine(config.evaluate.engine, config.evaluate.engine_version, recipe.model_dtype),
        every_stage=config.evaluate.stages == "all",
        notes=tuple(notes),
    )


def account_of(found: Source, recipe: Recipe, tokenizer: str, root: Path) -> dict[str, Any] | None:
    """The account of a source that was encoded before, for this tokenizer if there is one of it."""
    identity = {name: value for name, value in canonical(found).items() if name != "name"}
    if found.rows_from == "generated":
        return None
    best = None
    for path in sorted((root / ENCODED).glob("*/account.json")):
        try:
            account = _account(str(path), path.stat().st_mtime_ns)
            of = {name: value for name, value in account["identity"].items() if name != "name"}
            fits = (account["template"], account["max_length"]) == (recipe.template, recipe.max_length)
        except (OSError, ValueError, KeyError):
            continue
        if of == identity and fits and (best is None or account["tokenizer"] == tokenizer):
            best = account
    return best


@lru_cache(maxsize=256)
def _account(name: str, mtime: int) -> dict[str, Any]:  # noqa: ARG001
    found: dict[str, Any] = json.loads(Path(name).read_text(encoding="utf-8"))
    return found


def source(entry: SourceConfig, folder: Path, slot: str, bug_compatible: bool = False) -> tuple[Source, str]:
    """The exact source, and a note where a file takes the place of the declared one, under the file's own name."""
    role = cast(Literal["specialized", "general"], entry.role)
    pin = hub_pin(entry) if entry.hub else entry.content
    base = Source(
        name=entry.name,
        content=pin,
        format=entry.format,
        ability=entry.ability,
        role=role,
        rows=entry.rows,
        path=str(_place(entry, folder)),
        mean_tokens=entry.mean_tokens,
        max_bad_fraction=entry.max_bad_fraction,
        slot=slot,
        cleaning=cleaning(entry.clean),
        bug_compatible=bug_compatible,
    )
    if entry.generated:
        content = f"generated:{entry.name}:version={VERSIONS['mini']}:rows={entry.rows}:seed={entry.seed}"
        return replace(base, content=content, path="", rows_from="generated", seed=entry.seed), ""
    path = Path(base.path)
    if not (entry.path or not pin) or not path.is_file():
        unpinned = f"provisional:{entry.path or entry.file}"
        return (base if pin and not entry.path else replace(base, content=unpinned)), ""
    try:
        content, rows = content_of(path, pin)
    except (OSError, ValueError, *packing.DAMAGED) as error:
        raise RequestError(f"{path} of source {entry.name} cannot be read: {error}") from error
    if content == pin:
        return base, ""
    found = replace(base, content=content, rows=rows, rows_from="counted")
    if not pin:
        return found, f"{path.name} with {rows:,} rows is used"
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", path.name.partition(".")[0])[:40] or "file"
    note = f"{path.name} with {rows:,} rows is used in place of the pinned {entry.name} ({entry.rows:,} rows)"
    return replace(found, name=name), note


def file_of(entry: SourceConfig, config: Config) -> Path:
    """Where a source's file lies, or is fetched to."""
    return _place(entry, Path(config.data.folder or Path(config.output_dir) / "data"))


def _place(entry: SourceConfig, folder: Path) -> Path:
    if entry.path:
        return Path(entry.path)
    named = (
        f"hub/{entry.hub.replace('/', '--')}-{entry.revision[:12]}-{entry.subset or 'default'}-{entry.split}.parquet"
    )
    return folder / (entry.file or named)


def hub_pin(entry: SourceConfig) -> str:
    """What a data set of the hub is, exactly."""
    return f"hub:{entry.hub}@{entry.revision}:{entry.subset}:{entry.split}"


def cleaning(entry: CleanConfig) -> Cleaning | None:
    """The exact rules, the tags by the content of their file; None where no rule is on."""
    values: dict[str, Any] = {
        f.name: tuple(value) if isinstance(value := getattr(entry, f.name), list) else value
        for f in fields(entry)
        if f.name != "tags_file"
    }
    tags, path = "", entry.tags_file or ""
    if path:
        tags = content_of(Path(path))[0] if Path(path).is_file() else f"provisional:{path}"
    made = Cleaning(**values, tags=tags, tags_path=path)
    return None if made == Cleaning() else made


def template(name: str, base: Model) -> str:
    """The tokenizer's own chat template enters by its content; the others are known by their names."""
    if name != vocabulary.CHAT or not base.tokenizer_path:
        return name
    return vocabulary.chat_template_pin(vocabulary.chat_template(Path(base.tokenizer_path)))


def model(entry: ModelConfig) -> Model:
    """The base model: by hub pin, by the digest of a folder's weights, or by its initialisation."""
    tokenizer_path = entry.tokenizer or entry.folder or ("" if entry.weights != "init" else str(MINI_TOKENIZER))
    shape = Shape(**{name: getattr(entry.shape, name) for name in entry.shape.__dataclass_fields__})
    if entry.folder:
        weights = weights_of(Path(entry.folder))
    elif entry.weights == "init":
        weights = f"init:version={VERSIONS['init']}"
    else:
        weights = f"hub:{entry.weights}@{entry.revision}"
    tokenizer, size = tokenizer_of(tokenizer_path) if tokenizer_path else (weights, 0)
    if not shape.vocab_size:
        shape = replace(shape, vocab_size=size)
    initialised = weights.startswith("init:")
    return Model(
        weights=weights,
        tokenizer=tokenizer,
        shape=shape,
        seed=entry.seed if initialised else 0,
        init_std=entry.init_std if initialised else 0.0,
        name=entry.name,
        path=entry.folder or "",
        tokenizer_path=tokenizer_path,
        gpus=entry.gpus,
    )


def benchmarks(config: Config, components: list[Component], template: str) -> Iterator[Benchmark]:
    """The test sets of a point; held-out loss is one for each source."""
    evaluate = config.evaluate
    folder = Path(config.data.folder or Path(config.output_dir) / "data")
    for name in evaluate.benchmarks:
        if name in MINI_BENCHMARKS:
            yield Benchmark(
                name=name,
                content=f"generated:{name}:version={VERSIONS['mini']}:seed={evaluate.seed}",
                examples=evaluate.examples,
                template=template,
                max_new_tokens=evaluate.max_new_tokens,
                seed=evaluate.seed,
                ability=name.removeprefix("mini_"),
            )
        elif name in PUBLISHED:
            yield _published(name, evaluate, template, folder)
    if "heldout_loss" in evaluate.benchmarks:
        for c in components:
            yield Benchmark(
                name=f"heldout_loss:{c.source.name}",
                content=c.source.content,
                examples=evaluate.examples,
                template=template,
                source=c.source,
                seed=c.seed,
                max_length=config.train.max_length,
                ability=c.source.ability,
            )


def _published(name: str, evaluate: EvaluateConfig, template: str, folder: Path) -> Benchmark:
    """A benchmark of others, whole or its first `evaluate.examples` items."""
    entry: BenchmarkConfig = getattr(evaluate, name)
    path, content, total = published_file(entry, folder)
    return Benchmark(
        name=name,
        content=content,
        examples=min(evaluate.examples or total, total),
        template=template,
        max_new_tokens=entry.max_new_tokens,
        seed=evaluate.seed,
        ability=entry.ability,
        style=entry.style,
        samples=entry.samples,
        temperature=entry.temperature,
        total=total,
        path=path,
        judge=judge(entry, folder) if isinstance(entry, MtBenchConfig) else None,
    )


def published_file(entry: BenchmarkConfig, folder: Path) -> tuple[str, str, int]:
    """(path, content, items) of a benchmark's file: the pinned one, or a file of the user's own by its content."""
    if entry.path:
        path = Path(entry.path)
        if not path.is_file():
            raise RequestError(f"evaluate: there is no benchmark file {path}")
        content, rows = content_of(path, entry.content)
        return str(path.absolute()), content, entry.rows if content == entry.content else rows
    return (str((folder / entry.file).absolute()) if entry.file else ""), entry.content, entry.rows


def judge(entry: MtBenchConfig, folder: Path) -> Judge:
    """The judge of MT-Bench's answers, its texts by their content."""
    texts = {}
    for key in ("prompts", "references"):
        place = Path(getattr(entry, key) or folder / getattr(entry, f"{key}_file"))
        pin = getattr(entry, f"{key}_content")
        texts[key] = (str(place.absolute()), content_of(place, pin)[0] if place.is_file() else pin)
    j = entry.judge
    return Judge(
        model=j.model,
        revision=j.revision,
        prompts=texts["prompts"][1],
        references=texts["references"][1],
        temperature=j.temperature,
        max_tokens=j.max_tokens,
        repeats=j.repeats,
        prompts_path=texts["prompts"][0],
        references_path=texts["references"][0],
        base_url=j.base_url,
        key_variable=j.key_variable,
        workers=j.workers,
        timeout=j.timeout,
        retries=j.retries,
        max_cost_usd=j.max_cost_usd,
        prompt_usd=j.prompt_usd_per_million,
        completion_usd=j.completion_usd_per_million,
    )
