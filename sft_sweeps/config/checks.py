"""Every check that the text of a configuration alone allows: each field's own, and what fields ask of each other.

`problems` lists everything wrong with one point of a sweep, each as one message: key, value, what is valid, what to
type.
"""

import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args

from omegaconf import DictConfig, OmegaConf

from sft_sweeps import ranges
from sft_sweeps.benchmarks.registry import definitions
from sft_sweeps.benchmarks.settings import EvaluateConfig
from sft_sweeps.config import cluster_checks, mixtures
from sft_sweeps.config.keys import nearest_key
from sft_sweeps.config.resolve_model import MADE_TOKENIZERS
from sft_sweeps.config.schema import Config
from sft_sweeps.config.source_schema import SourceConfig
from sft_sweeps.config.train_schema import LoraConfig, TrainConfig
from sft_sweeps.data import columns, mini, roles, template
from sft_sweeps.data.formats import CHOSEN
from sft_sweeps.data.tags import WORDS
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Tracking
from sft_sweeps.plan import hypotheses
from sft_sweeps.plan.engines import ENGINES
from sft_sweeps.ranges import NumberRange, OneOf
from sft_sweeps.strategies import STRATEGIES
from sft_sweeps.tracking.trackers import TRACKERS

EXAMPLE = "{claim: Replay keeps math, benchmark: gsm8k, better: strategy=dmt strategy.k=1/4, than: strategy=sequential}"


def problems(config: Config) -> list[str]:
    """Everything wrong with one point that its text shows; empty when nothing is."""
    return [*ranges.problems(config), *(problem for check in ACROSS_FIELDS for problem in check(config))]


def unknown_keys(node: DictConfig, schema: Any, prefix: str = "") -> list[str]:
    """Keys that `+key=value` smuggled past the schema, each with the nearest valid name."""
    known = {f.name: f.type for f in fields(schema)}
    texts = []
    for key in map(str, node):
        if key not in known:
            meant = nearest_key(f"{prefix}{key}", [f"{prefix}{name}" for name in known])
            hint = f"; did you mean {meant}?" if meant else f"; valid here: {', '.join(known)}"
            texts.append(f"unknown key {prefix}{key}{hint}")
        elif isinstance(child := OmegaConf.select(node, key, throw_on_missing=False), DictConfig):
            texts += _unknown_below(child, known[key], f"{prefix}{key}.")
    return texts


def _unknown_below(child: DictConfig, kind: Any, prefix: str) -> list[str]:
    """Of a group, or of groups under names that users give, such as data.sources."""
    typed = OmegaConf.get_type(child)  # a subclass, where the schema was made of several: evaluate
    kind = typed if is_dataclass(typed) else kind
    if is_dataclass(kind):
        return unknown_keys(child, kind, prefix)
    inner = get_args(kind)[-1:]
    if not inner or not is_dataclass(inner[0]):
        return []
    return [text for slot in map(str, child) for text in unknown_keys(child[slot], inner[0], f"{prefix}{slot}.")]


def _sources(c: Config) -> Iterator[str]:
    """Each source has a name of its own, and is one thing: generated, pinned or the user's file."""
    if not c.data.sources:
        yield "data.sources is empty; choose data=mixed, math, code, general or mini"
    for slot, source in c.data.sources.items():
        yield from _source(f"data.sources.{slot}", source)
        if c.data.bug_compatible and CHOSEN in (source.format, columns.format_of(columns.typed(source.columns))):
            yield f"data.bug_compatible=true: FastChat knows no preferences, for which data.sources.{slot} asks"
    names = [source.name for source in c.data.sources.values()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"source {name} is listed twice in data.sources; give each of its parts a name of its own"


def _source(key: str, source: SourceConfig) -> Iterator[str]:
    if not (source.path or source.hub or source.file or source.generated):
        yield f"{key} has no file; type {key}.path=FILE"
        return
    yield from NumberRange(0 if source.path or source.hub else 1)(f"{key}.rows", source.rows)
    yield from roles.problems(f"{key}.roles", source.roles)
    yield from columns.problems(f"{key}.columns", source.columns, source.format)
    if source.generated and source.path:
        yield (f"{key}.path={source.path} is not read: {source.name} is generated; also type {key}.generated=false")
    if source.generated and source.group_by:
        yield f"{key}.group_by={source.group_by} is not read: {source.name} is generated; leave it out"
    if source.generated and source.name not in mini.GENERATED:
        yield (
            f"{key}.name={source.name} cannot be generated; only {', '.join(mini.GENERATED)} can. "
            f"Set {key}.generated=false and a path."
        )
    if source.hub and not source.revision:
        yield f"{key}.hub={source.hub} has no {key}.revision; pin one"


def _bug_compatible(c: Config) -> Iterator[str]:
    if c.data.bug_compatible and c.train.template not in template.fastchat_names():
        yield (
            f"data.bug_compatible=true is about FastChat's own template, not train.template={c.train.template}; "
            f"set train.template={template.fastchat_names()[0]} or data.bug_compatible=false"
        )


def _tags(c: Config) -> Iterator[str]:
    """Tags come from a file; words can stand in for a few of them."""
    for slot, source in c.data.sources.items():
        key, rules = f"data.sources.{slot}.clean", source.clean
        if rules.tags_file and not rules.drop_tags:
            yield f"{key}.tags_file={rules.tags_file} is of no use without {key}.drop_tags, e.g. [code,math]"
        if unknown := [tag for tag in rules.drop_tags if not rules.tags_file and tag not in WORDS]:
            yield f"{key}.drop_tags={unknown[0]} needs {key}.tags_file=FILE; words stand in for: {', '.join(WORDS)}"


def _strategy(c: Config) -> Iterator[str]:
    """The strategy has the k and the roles that it declares to need."""
    name = c.strategy.name
    if name not in STRATEGIES.names:
        return
    strategy = STRATEGIES.get(name)
    if strategy.uses_k and c.strategy.k is None:
        yield f"strategy={name} needs strategy.k, the replayed share; type strategy.k=1/256"
    if strategy.merges and c.train.adapter != "none":
        yield (
            f"strategy={name} averages whole models, and train.adapter={c.train.adapter} trains adapters, which "
            "are not averaged; type train.adapter=none, or another strategy"
        )
    present = {source.role for source in c.data.sources.values()}
    if missing := [role for role in strategy.needs_roles if role not in present]:
        yield (
            f"strategy={name} needs {' and '.join(strategy.needs_roles)} sources; "
            f"this data has no {' and no '.join(missing)} source. Choose data=mixed or another strategy."
        )


def _model(c: Config) -> Iterator[str]:
    """Heads divide the width, key heads the heads, and published weights are pinned."""
    model, shape = c.model, c.model.shape
    sizes = ("hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "max_positions")
    if unset := [name for name in sizes if getattr(shape, name) == 0]:
        yield f"model.shape.{unset[0]}=0: it is to be at least 1; type model.shape.{unset[0]}=N, or model=hf"
    if shape.heads >= 1 and not shape.head_dim and shape.hidden_size % shape.heads:
        yield f"model.shape.hidden_size={shape.hidden_size} is not a multiple of model.shape.heads={shape.heads}"
    if shape.kv_heads >= 1 and shape.heads % shape.kv_heads:
        yield f"model.shape.heads={shape.heads} is not a multiple of model.shape.kv_heads={shape.kv_heads}"
    if model.weights not in MADE_TOKENIZERS and not model.revision and model.folder is None:
        yield f"model.weights={model.weights} has no model.revision; pin one, or set model.folder=FOLDER"


def _max_length(c: Config) -> Iterator[str]:
    longest, positions = c.train.max_length, c.model.shape.max_positions
    if longest > positions >= 1:
        yield (
            f"train.max_length={longest} is beyond {c.model.name}'s {positions} positions; "
            f"set train.max_length={positions} or less"
        )


def _adapter(c: Config) -> Iterator[str]:
    """Settings of an adapter are for who trains one, and layers have names."""
    asked, unset = c.train.lora, LoraConfig()
    if c.train.adapter == "none":
        changed = [f.name for f in fields(LoraConfig) if getattr(asked, f.name) != getattr(unset, f.name)]
        if changed:
            key = f"train.lora.{changed[0]}"
            yield f"{key}={getattr(asked, changed[0])} is not read: train.adapter=none; also type train.adapter=lora"
    for target in asked.targets:
        if not target.strip(" .") or "*" in target:
            yield f"train.lora.targets={target!r} names no layer; write the last part of a name, e.g. [q_proj,v_proj]"


def _virtual_devices(c: Config) -> Iterator[str]:
    """Each virtual device has equally many of a step's examples, and at least one."""
    train: TrainConfig = c.train
    devices, examples = train.virtual_devices, train.batch_size
    if train.loss_reduction != "device_mean" or examples < 1 or (devices >= 1 and examples % devices == 0):
        return
    fitting = [n for n in range(1, examples + 1) if examples % n == 0]
    nearest = min(fitting, key=lambda n: (abs(n - devices), n))
    what = "is more than" if devices > examples else "does not divide"
    yield (
        f"train.virtual_devices={devices} {what if devices >= 1 else 'cannot share'} the train.batch_size={examples} "
        f"examples of a step; valid: {', '.join(map(str, fitting))}. Type train.virtual_devices={nearest}"
    )


def _engine(evaluate: EvaluateConfig) -> Iterator[str]:
    """An interpreter of its own is for an engine that can have one."""
    if evaluate.engine not in ENGINES.names:
        return
    backend = ENGINES.get(evaluate.engine)
    if evaluate.engine_python and not backend.own_python:
        fitting = ", ".join(name for name, other in ENGINES.all.items() if other.own_python)
        yield f"evaluate.engine_python={evaluate.engine_python} is for evaluate.engine={fitting}; leave it out"


def _evaluate(c: Config) -> Iterator[str]:
    """The benchmarks are known, and each finds nothing wrong with its settings."""
    evaluate, known = c.evaluate, definitions()
    for name in evaluate.benchmarks:
        yield from OneOf(lambda: tuple(known))("evaluate.benchmarks", name)
    yield from _engine(evaluate)
    chosen = [known[name] for name in dict.fromkeys(evaluate.benchmarks) if name in known]
    settings = {benchmark.name: getattr(evaluate, benchmark.name, None) for benchmark in chosen}
    texts = (text for one in chosen for text in one.problems(one.name, settings[one.name], evaluate))
    yield from dict.fromkeys(texts)  # benchmarks that read the same key say the same of it


def _representations(c: Config) -> Iterator[str]:
    """The model has the layer, and each source at least as many rows as queries are taken of it."""
    asked, layers = c.analysis.representations, c.model.shape.layers
    if not asked.queries:
        return
    layer = c.model.representation_layer if asked.layer is None else asked.layer
    if layer > layers >= 1:
        key = "model.representation_layer" if asked.layer is None else "analysis.representations.layer"
        yield (
            f"{key}={layer} is beyond {c.model.name}'s {layers} layers; type analysis.representations.layer=N with N "
            f"of 0 (the embeddings) to {layers}"
        )
    for slot, source in c.data.sources.items():
        if 1 <= source.rows < asked.queries:
            yield (
                f"analysis.representations.queries={asked.queries} is more than data.sources.{slot} has rows "
                f"({source.rows:,}); type analysis.representations.queries={source.rows} or fewer"
            )


def _study(c: Config) -> Iterator[str]:
    """Each hypothesis says what it claims, of which runs, on which benchmark."""
    known = definitions()
    for number, one in enumerate(c.study.hypotheses):
        key = f"study.hypotheses[{number}]"
        if empty := [name for name in ("claim", "benchmark", "better", "than") if not getattr(one, name)]:
            yield f"{key} lacks {', '.join(empty)}; like {EXAMPLE}"
            continue
        if one.benchmark.partition(":")[0] not in known:
            yield from OneOf(lambda: tuple(known))(f"{key}.benchmark", one.benchmark)
        for side in ("better", "than"):
            try:
                hypotheses.overrides(getattr(one, side))
            except RequestError as error:
                yield f"{key}.{side}: {error}"


def _sandbox(c: Config) -> Iterator[str]:
    if c.sandbox.isolation == "none" and not c.sandbox.i_accept_running_untrusted_code:
        yield (
            "sandbox.isolation=none runs programs that a model wrote with your rights; if that is meant, type "
            "sandbox.i_accept_running_untrusted_code=true sandbox.require=[]"
        )
    if "forge" in c.sandbox.require and not c.sandbox.strict:
        yield "sandbox.require=forge needs sandbox.strict=true"


def _cluster(c: Config) -> Iterator[str]:
    yield from cluster_checks.problems(c.cluster, c.model)


def _plan(c: Config) -> Iterator[str]:
    if c.plan.deadline and not c.plan.gpus:
        yield f"plan.deadline={c.plan.deadline} needs the number of GPUs that the sweep may use: type plan.gpus=32"


def _token_budget(c: Config) -> Iterator[str]:
    budget, longest = c.deepspeed.token_budget, c.train.max_length
    if 0 < budget < longest:
        yield (
            f"deepspeed.token_budget={budget} is below train.max_length={longest}, so that one example may exceed it; "
            f"set deepspeed.token_budget={longest} or more, or 0 to have it found"
        )


def _tracking(c: Config) -> Iterator[str]:
    """The tracker takes the settings that all trackers share."""
    name, project, entity, mode = c.tracking.name, c.tracking.project or "", c.tracking.entity or "", c.tracking.mode
    if name in TRACKERS.names:
        yield from TRACKERS.get(name).problems(Tracking(name, project, entity, mode))


def _store(c: Config) -> Iterator[str]:
    for root in c.store.read_from:
        if not root.strip() or os.path.abspath(root) == os.path.abspath(c.output_dir):
            yield f"store.read_from={root} must be another store than output_dir={c.output_dir}; leave it out"


ACROSS_FIELDS = (
    _sources,
    mixtures.problems,
    _bug_compatible,
    _tags,
    _strategy,
    _model,
    _max_length,
    _adapter,
    _virtual_devices,
    _evaluate,
    _representations,
    _study,
    _sandbox,
    _cluster,
    _plan,
    _token_budget,
    _tracking,
    _store,
)
