"""Whether the models of a launch are here: weights, tokenizer, and whether they fit the GPUs that they ask for."""

from collections.abc import Iterator

from sft_sweeps.commands.doctor.asked_work import AskedWork
from sft_sweeps.commands.doctor.data import OF_MODELS
from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.execution import TrainExecution
from sft_sweeps.launch.gpus import gpus_here
from sft_sweeps.launch.launchers import launcher_of
from sft_sweeps.launch.local.launcher import LocalLauncher
from sft_sweeps.plan import memory
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import Store


def asked(request: DoctorRequest) -> Iterator[Finding]:
    """Each base model of the launch that was typed, or of one without overrides."""
    asked_work = AskedWork(request)
    plan, store, config = asked_work.work.plan, asked_work.work.store, asked_work.work.config
    yield Finding("ok", "launch", asked_work.what)
    texts = [text for text in asked_work.problems if text.startswith(OF_MODELS)]
    models = list({run.model.id: run.model for run in plan.runs}.values())
    for model in models:
        if not any(text.startswith((f"model={model.name}:", "model.tokenizer")) for text in texts):
            yield _whole(model, store)
    for text in texts:
        about, _, rest = text.partition(": ")
        yield Finding(asked_work.level, about, rest)
    yield from _memory(asked_work)
    if isinstance(launcher_of(config), LocalLauncher):
        yield from _gpus(models, asked_work)


def _whole(model: Model, store: Store) -> Finding:
    """One that nothing is wrong with."""
    if model.initialised:
        return Finding("ok", model.name, "made here from a seed, with its tokenizer")
    return Finding("ok", model.name, f"{store.weights(model)}: config, weights and tokenizer fit each other")


def _memory(asked_work: AskedWork) -> Iterator[Finding]:
    """What a GPU must hold."""
    config = asked_work.work.config
    ways: dict[TrainExecution, list[Stage]] = {}
    for job in asked_work.work.jobs:
        if job.stage and isinstance(job.execution, TrainExecution):
            ways.setdefault(job.execution, []).append(job.stage)
    fits = 0
    for execution, stages in ways.items():
        for stage in memory.alike(stages):
            if text := memory.problem(stage, execution, config.cluster.gpu_memory_gb):
                yield Finding("problem", "memory", text)
            else:
                fits += stage.model.gpus > 0
    if fits:
        yield Finding("ok", "memory", f"every stage fits GPUs of {config.cluster.gpu_memory_gb:g} GB")


def _gpus(models: list[Model], asked_work: AskedWork) -> Iterator[Finding]:
    """Jobs would run on this machine."""
    here = gpus_here()
    for model in models:
        if model.gpus > here:
            text = f"it needs {model.gpus} GPUs, this machine has {here or 'none'}"
            change = "launch on a cluster's login node, or model=mini"
            yield Finding(asked_work.level, model.name, text, change)
