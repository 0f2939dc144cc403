"""Every check that the text of a configuration alone allows.

`problems` lists everything wrong with one point of a sweep, each as one message: key, value, what is valid, what to
type.
"""

import difflib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

from omegaconf import DictConfig, OmegaConf

from sft_sweeps.config import cluster_checks
from sft_sweeps.config.schema import Config, KindConfig, TrainConfig
from sft_sweeps.config.source_schema import DataConfig, SourceConfig
from sft_sweeps.errors import RequestError
from sft_sweeps.execution import Tracking
from sft_sweeps.strategies import ROLES, STRATEGIES
from sft_sweeps.tracking.trackers import TRACKERS

ACTIONS = ("launch", "plan", "prepare", "inspect")
TEMPLATES = ("vicuna_v1.1", "vicuna_bare", "alpaca", "chat_template")
WORDED_TAGS = ("code", "math")  # for which words and code fences can stand in
FASTCHAT_TEMPLATES = ("vicuna_v1.1", "vicuna_bare")  # what data.bug_compatible speaks of
FORMATS = ("auto", "question_answer", "query_response", "alpaca", "sharegpt", "messages")
LOSS_REDUCTIONS = ("device_mean", "token_mean", "example_mean")
PRECISIONS = ("fp32", "bf16")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")  # names become parts of folders' names
MINI_BENCHMARKS = ("mini_math", "mini_code", "mini_general")
RETENTIONS = ("all", "final", "scores")
PUBLISHED = ("gsm8k", "humaneval", "mt_bench")
BENCHMARKS = (*MINI_BENCHMARKS, *PUBLISHED, "heldout_loss")
ENGINES = ("hf", "vllm")
STYLES = {"gsm8k": ("query",), "humaneval": ("query", "instruct", "prefill"), "mt_bench": ("query",)}
ISOLATIONS = ("auto", "kernel", "seccomp", "landlock", "bubblewrap", "none")
PROPERTIES = ("fs", "net", "kill", "forge")
INNER = {"data.sources": SourceConfig, "cluster.kinds": KindConfig}  # keys with settings under names of one's own


def parse_fraction(text: str, key: str) -> Fraction:
    """An exact fraction in (0, 1] from `1`, `1/4` or `0.25`; RequestError names the key."""
    try:
        value = Fraction(str(text).strip())
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 1:
        raise RequestError(f"{key}={text} is not a fraction in (0, 1]; write it like {key}=1/4, =0.25 or =1")
    return value


def unknown_keys(node: DictConfig, schema: Any, prefix: str = "") -> list[str]:
    """Keys that `+key=value` smuggled past the schema, each with the nearest valid name."""
    known = {f.name: f for f in fields(schema)}
    found = []
    for key in map(str, node):
        child = OmegaConf.select(node, key, throw_on_missing=False) if key in known else None
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"valid here: {', '.join(known)}"
            found.append(f"unknown key {prefix}{key}; {hint}")
        elif isinstance(child, DictConfig) and is_dataclass(known[key].type):
            found += unknown_keys(child, known[key].type, f"{prefix}{key}.")
        elif (inner := INNER.get(prefix + key)) and isinstance(child, DictConfig):
            for slot in map(str, child):
                found += unknown_keys(child[slot], inner, f"{prefix}{key}.{slot}.")
    return found


def problems(config: Config) -> list[str]:
    """Everything wrong with one point that its text shows; empty when nothing is."""
    checks = (
        _choices,
        _fractions,
        _encoding,
        _strategy,
        _model,
        _train,
        _evaluate,
        _sandbox,
        _cluster,
        _tracking,
        _store,
    )
    return [problem for check in checks for problem in check(config)]


def _one_of(key: str, value: str, valid: tuple[str, ...]) -> Iterator[str]:
    if value not in valid:
        close = difflib.get_close_matches(value, valid, n=1)
        hint = f"; did you mean {key}={close[0]}?" if close else ""
        yield f"{key}={value} is unknown; valid: {', '.join(valid)}{hint}"


def _positive(key: str, value: float, least: float = 1) -> Iterator[str]:
    if not least <= value < math.inf:
        yield f"{key}={value} must be a number of at least {least}"


def _name(key: str, value: str) -> Iterator[str]:
    if not NAME.fullmatch(value):
        yield (
            f"{key}={value} cannot be used in the name of a folder; write at most 40 letters, digits and _ . + - "
            "beginning with a letter or digit"
        )


def _choices(c: Config) -> Iterator[str]:
    yield from _one_of("action", c.action, ACTIONS)
    for key, name in (("name", c.name), ("study.name", c.study.name)):
        yield from _name(key, name) if name else ()
    for slot, source in c.data.sources.items():
        yield from _name(f"data.sources.{slot}.name", source.name)
        yield from _name(f"data.sources.{slot}.ability", source.ability)
        yield from _one_of(f"data.sources.{slot}.role", source.role, ROLES)
        yield from _one_of(f"data.sources.{slot}.format", source.format, FORMATS)
        yield from _positive(f"data.sources.{slot}.rows", source.rows, 0 if source.path or source.hub else 1)
        if source.generated and source.path:
            yield (
                f"data.sources.{slot}.path={source.path} is not read: {source.name} is generated; "
                f"also type data.sources.{slot}.generated=false"
            )
        if source.generated and source.name not in MINI_BENCHMARKS:
            yield (
                f"data.sources.{slot}.name={source.name} cannot be generated; "
                f"only {', '.join(MINI_BENCHMARKS)} can. Set data.sources.{slot}.generated=false and a path."
            )
    names = [source.name for source in c.data.sources.values()]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"source {name} is listed twice in data.sources; give each of its parts a name of its own"


def _fractions(c: Config) -> Iterator[str]:
    """Each source's fraction parses, and takes at least one example."""
    for slot in c.data.fractions:
        if slot not in c.data.sources and c.data.fractions[slot] is not None:
            have = ", ".join(c.data.sources) or "none"
            yield f"data.fractions.{slot} is set, but this data has no source {slot}; it has: {have}"
    yield from _positive("data.heldout", c.data.heldout, 0)
    if not c.data.sources:
        yield "data.sources is empty; choose data=mixed, math, code, general or mini"
    seen = set()
    for slot, source in c.data.sources.items():
        key, text = fraction_of(c.data, slot)
        try:
            fraction = parse_fraction(text, key)
        except RequestError as error:
            if key not in seen:
                yield str(error)
            seen.add(key)
            continue
        if source.rows >= 1 and (source.rows - c.data.heldout) * fraction < 1:
            yield f"{key}={text} takes no example of {source.name}, which has {source.rows:,} rows; take a larger one"


def _encoding(c: Config) -> Iterator[str]:
    """What the sources' rules and the template ask of each other."""
    if c.data.bug_compatible and c.train.template not in FASTCHAT_TEMPLATES:
        yield (
            f"data.bug_compatible=true is about FastChat's own template, not train.template={c.train.template}; "
            f"set train.template={FASTCHAT_TEMPLATES[0]} or data.bug_compatible=false"
        )
    for slot, source in c.data.sources.items():
        key, rules = f"data.sources.{slot}.clean", source.clean
        yield from _one_of(f"{key}.role_break", rules.role_break, ("cut", "drop"))
        for name in ("min_characters", "split_tokens"):
            yield from _positive(f"{key}.{name}", getattr(rules, name), 0)
        if rules.tags_file and not rules.drop_tags:
            yield f"{key}.tags_file={rules.tags_file} is of no use without {key}.drop_tags, e.g. [code,math]"
        if unknown := [tag for tag in rules.drop_tags if not rules.tags_file and tag not in WORDED_TAGS]:
            have = ", ".join(WORDED_TAGS)
            yield f"{key}.drop_tags={unknown[0]} needs {key}.tags_file=FILE; words stand in for: {have}"
        if source.hub and not source.revision:
            yield f"data.sources.{slot}.hub={source.hub} has no data.sources.{slot}.revision; pin one"
    yield from _positive("inspect.limit", c.inspect.limit, 0)


def fraction_of(data: DataConfig, slot: str) -> tuple[str, str]:
    """The key that decides a source's fraction, and its text."""
    own = data.fractions.get(slot)
    return ("data.fraction", data.fraction) if own is None else (f"data.fractions.{slot}", own)


def _strategy(c: Config) -> Iterator[str]:
    """The strategy is known, and has the k and the roles that it declares to need."""
    name, k = c.strategy.name, c.strategy.k
    yield from _one_of("strategy.name", name, STRATEGIES.names)
    if k is not None:
        try:
            parse_fraction(k, "strategy.k")
        except RequestError as error:
            yield str(error)
    if name not in STRATEGIES.names:
        return
    strategy = STRATEGIES.get(name)
    if strategy.uses_k and k is None:
        yield f"strategy={name} needs strategy.k, the replayed share; type strategy.k=1/256"
    present = {source.role for source in c.data.sources.values()}
    if missing := [role for role in strategy.needs_roles if role not in present]:
        yield (
            f"strategy={name} needs {' and '.join(strategy.needs_roles)} sources; "
            f"this data has no {' and no '.join(missing)} source. Choose data=mixed or another strategy."
        )


def _model(c: Config) -> Iterator[str]:
    model, shape = c.model, c.model.shape
    yield from _name("model.name", model.name)
    yield from _positive("model.gpus", model.gpus, 0)
    for key in ("hidden_size", "intermediate_size", "layers", "heads", "kv_heads", "max_positions"):
        yield from _positive(f"model.shape.{key}", getattr(shape, key))
    if shape.heads >= 1 and shape.hidden_size % shape.heads:
        yield f"model.shape.hidden_size={shape.hidden_size} is not a multiple of model.shape.heads={shape.heads}"
    if shape.kv_heads >= 1 and shape.heads % shape.kv_heads:
        yield f"model.shape.heads={shape.heads} is not a multiple of model.shape.kv_heads={shape.kv_heads}"
    if not 0 <= model.seed < 2**32:
        yield f"model.seed={model.seed} must be in 0 ... {2**32 - 1}"
    if not 0 < model.init_std < math.inf:
        yield f"model.init_std={model.init_std} must be above 0, e.g. model.init_std=0.02"
    if model.weights != "init" and not model.revision and model.folder is None:
        yield f"model.weights={model.weights} has no model.revision; pin one, or set model.folder=FOLDER"


def _train(c: Config) -> Iterator[str]:
    train = c.train
    for key in ("epochs", "batch_size", "max_length"):
        yield from _positive(f"train.{key}", getattr(train, key))
    yield from _one_of("train.schedule", train.schedule, ("cosine",))
    yield from _one_of("train.template", train.template, TEMPLATES)
    yield from _one_of("train.loss_reduction", train.loss_reduction, LOSS_REDUCTIONS)
    yield from _virtual_devices(train)
    yield from _one_of("train.precision", train.precision, PRECISIONS)
    yield from _one_of("train.model_dtype", train.model_dtype, PRECISIONS)
    for key in ("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"):
        yield from _positive(f"train.{key}", getattr(train, key), 0)
    for key in ("adam_beta1", "adam_beta2"):
        if getattr(train, key) >= 1:
            yield f"train.{key}={getattr(train, key)} must be in [0, 1), e.g. train.{key}=0.9"
    if not 0 < train.learning_rate < math.inf:
        yield f"train.learning_rate={train.learning_rate} must be above 0, e.g. train.learning_rate=2e-5"
    if not 0 <= train.warmup_fraction < 1:
        yield f"train.warmup_fraction={train.warmup_fraction} must be in [0, 1), e.g. train.warmup_fraction=0.03"
    if train.max_length > c.model.shape.max_positions:
        yield (
            f"train.max_length={train.max_length} is beyond {c.model.name}'s {c.model.shape.max_positions} positions; "
            f"set train.max_length={c.model.shape.max_positions} or less"
        )


def _virtual_devices(train: TrainConfig) -> Iterator[str]:
    """Each virtual device has equally many of a step's examples, and at least one."""
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


def _evaluate(c: Config) -> Iterator[str]:
    evaluate = c.evaluate
    for benchmark in evaluate.benchmarks:
        yield from _one_of("evaluate.benchmarks", benchmark, BENCHMARKS)
    yield from _one_of("evaluate.stages", evaluate.stages, ("all", "final"))
    yield from _one_of("evaluate.engine", evaluate.engine, ENGINES)
    if evaluate.engine == "hf" and evaluate.engine_python:
        yield f"evaluate.engine_python={evaluate.engine_python} is for evaluate.engine=vllm; leave it out"
    if evaluate.engine == "vllm" and "heldout_loss" in evaluate.benchmarks:
        yield f"evaluate.engine={evaluate.engine} takes no losses; leave heldout_loss out, or set evaluate.engine=hf"
    if evaluate.benchmarks:
        published = set(evaluate.benchmarks) <= set(PUBLISHED)
        yield from _positive("evaluate.examples", evaluate.examples, 0 if published else 1)
        yield from _positive("evaluate.batch_size", evaluate.batch_size)
    if set(evaluate.benchmarks) & set(MINI_BENCHMARKS):
        yield from _positive("evaluate.max_new_tokens", evaluate.max_new_tokens)
    for name in PUBLISHED:
        if name in evaluate.benchmarks:
            yield from _published(name, c)


def _published(name: str, c: Config) -> Iterator[str]:
    entry, key = getattr(c.evaluate, name), f"evaluate.{name}"
    yield from _one_of(f"{key}.style", entry.style, STYLES[name])
    yield from _positive(f"{key}.samples", entry.samples)
    yield from _positive(f"{key}.max_new_tokens", entry.max_new_tokens)
    yield from _positive(f"{key}.temperature", entry.temperature, 0)
    if name == "gsm8k" and entry.samples > 1:
        yield f"{key}.samples={entry.samples} is not offered: GSM8K is answered once, greedily; set {key}.samples=1"
    if name == "humaneval" and entry.samples > 1 and entry.temperature == 0:
        yield f"{key}.samples={entry.samples} greedy answers would all be the same; set {key}.temperature=0.8"
    if name == "mt_bench":
        yield from _judge(c, f"{key}.judge")


def _judge(c: Config, key: str) -> Iterator[str]:
    judge = c.evaluate.mt_bench.judge
    if not judge.model:
        yield f"{key}.model is not set: who grades mt_bench? Type {key}.model=gpt-4-0613, or leave mt_bench out"
    if not judge.base_url.startswith(("http://", "https://")):
        yield f"{key}.base_url={judge.base_url} is no URL; type one like {key}.base_url=http://localhost:8000/v1"
    for name in ("max_tokens", "repeats", "workers"):
        yield from _positive(f"{key}.{name}", getattr(judge, name))
    for name in ("temperature", "retries", "max_cost_usd", "prompt_usd_per_million", "completion_usd_per_million"):
        yield from _positive(f"{key}.{name}", getattr(judge, name), 0)
    if judge.max_cost_usd and not judge.prompt_usd_per_million + judge.completion_usd_per_million:
        yield f"{key}.max_cost_usd={judge.max_cost_usd} needs prices: set {key}.prompt_usd_per_million=30"


def _sandbox(c: Config) -> Iterator[str]:
    yield from _one_of("sandbox.isolation", c.sandbox.isolation, ISOLATIONS)
    for name in c.sandbox.require:
        yield from _one_of("sandbox.require", name, PROPERTIES)
    if c.sandbox.isolation == "none" and not c.sandbox.i_accept_running_untrusted_code:
        yield (
            "sandbox.isolation=none runs programs that a model wrote with your rights; if that is meant, type "
            "sandbox.i_accept_running_untrusted_code=true sandbox.require=[]"
        )
    if "forge" in c.sandbox.require and not c.sandbox.strict:
        yield "sandbox.require=forge needs sandbox.strict=true"


def _cluster(c: Config) -> Iterator[str]:
    cluster = c.cluster
    yield from _one_of("cluster.name", cluster.name, ("local", "slurm", "auto"))
    for key in ("jobs", "replicas", "save_every_seconds", "save_every_steps"):
        yield from _positive(f"cluster.{key}", getattr(cluster, key), 0)
    for key in ("processes", "threads", "nodes", "cpus_per_gpu", "gpus_per_node", "max_running", "signal_seconds"):
        yield from _positive(f"cluster.{key}", getattr(cluster, key))
    yield from _positive("cluster.gpu_memory_gb", cluster.gpu_memory_gb)
    for name, kind in cluster.kinds.items():
        yield from _positive(f"cluster.kinds.{name}.cpus", 1 if kind.cpus is None else kind.cpus)
    yield from cluster_checks.problems(cluster, c.model)
    yield from _deepspeed(c)


def _deepspeed(c: Config) -> Iterator[str]:
    budget, longest = c.deepspeed.token_budget, c.train.max_length
    yield from _positive("deepspeed.token_budget", budget, 0)
    if 0 < budget < longest:
        yield (
            f"deepspeed.token_budget={budget} is below train.max_length={longest}, so that one example may exceed it; "
            f"set deepspeed.token_budget={longest} or more, or 0 to have it found"
        )
    if c.deepspeed.zero_stage not in (2, 3):
        yield f"deepspeed.zero_stage={c.deepspeed.zero_stage} is not offered; valid: 2, 3"


def _tracking(c: Config) -> Iterator[str]:
    name, mode = c.tracking.name, c.tracking.mode
    yield from _one_of("tracking.name", name, TRACKERS.names)
    yield from _one_of("tracking.mode", mode, ("auto", "online", "offline"))
    if name in TRACKERS.names:
        yield from TRACKERS.get(name).problems(Tracking(name, c.tracking.project, c.tracking.entity or "", mode))


def _store(c: Config) -> Iterator[str]:
    yield from _one_of("store.retention", c.store.retention, RETENTIONS)
    for root in c.store.read_from:
        if not root.strip() or os.path.abspath(root) == os.path.abspath(c.output_dir):
            yield f"store.read_from={root} must be another store than output_dir={c.output_dir}; leave it out"
