"""From the text of `conf/` to exact values: one Config in, one Request out. Reads files, writes none.

Sources and weights enter by their declared pins, so that planning needs neither. A file of the user's own
(`data.sources.SLOT.path`) enters by its content: one that matches the pin *is* the pinned source, another one takes
its place under its own hash, with its own count of rows.
"""

from collections.abc import Iterator
from pathlib import Path

from sft_sweeps.config.checks import MINI_BENCHMARKS, PUBLISHED
from sft_sweeps.config.fractions import parse_fraction
from sft_sweeps.config.resolve_model import model, recipe
from sft_sweeps.config.resolve_sources import components, data_folder
from sft_sweeps.config.schema import BenchmarkConfig, Config, EvaluateConfig, MtBenchConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.files.content import content_of
from sft_sweeps.identity import VERSIONS
from sft_sweeps.plan.request import Request
from sft_sweeps.spec import Benchmark, Component, Engine, Judge


def request(config: Config) -> Request:
    """The exact values of a checked Config (`checks.problems` lists none); RequestError for what files show."""
    base = model(config.model)
    exact_recipe = recipe(config.train, base)
    parts, notes = components(config, exact_recipe, base.tokenizer)
    k = config.strategy.k
    return Request(
        model=base,
        components=tuple(parts),
        strategy=config.strategy.name,
        k=None if k is None else parse_fraction(k, "strategy.k"),
        recipe=exact_recipe,
        benchmarks=tuple(benchmarks(config, parts, exact_recipe.template)),
        engine=Engine(config.evaluate.engine, config.evaluate.engine_version, exact_recipe.model_dtype),
        every_stage=config.evaluate.stages == "all",
        notes=tuple(notes),
    )


def benchmarks(config: Config, components: list[Component], template: str) -> Iterator[Benchmark]:
    """The test sets of a point; held-out loss is one for each source."""
    evaluate = config.evaluate
    folder = data_folder(config)
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
