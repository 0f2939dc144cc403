"""Whether adapters can be trained: PEFT is installed, and the model has the layers that they are added to."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec

from sft_sweeps.errors import RunError
from sft_sweeps.jobs.job import Job
from sft_sweeps.models import architectures, weights
from sft_sweeps.models.adapter import linear_layers, targeted
from sft_sweeps.models.architectures import ARCHITECTURES, Shapes
from sft_sweeps.plan import cost
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.training import Model, Stage
from sft_sweeps.store.store import Store

INSTALL = "train.adapter=lora trains with PEFT, which is not installed: pip install 'sft-sweeps[lora]'"


THEN = {
    "continue": "the next stage trains it on",
    "stack": "the next stage adds one to it",
    "merge": "the next stage starts one anew on the merged weights",
}


def lines(plan: Plan) -> list[str]:
    """What is trained of each model that has adapters, and what becomes of them."""
    found: list[str] = []
    for stage in plan.stages:
        shape, adapter = stage.model.shape, stage.recipe.adapter
        if not adapter:
            continue
        own, whole = cost.beside(shape, adapter), cost.parameters(shape)
        where = ", ".join(adapter.targets) or "every linear layer but the head"
        said = f"adapter of {stage.model.name}: LoRA of rank {adapter.rank}, alpha {adapter.alpha:g}, on {where}"
        said += f": {own:,} weights are trained beside {whole:,} frozen ones ({100 * own / whole:.2g} %)"
        found.append(said + (f"; {THEN[adapter.then]}" if isinstance(stage.parent, Stage) else ""))
    return _without_less(list(dict.fromkeys(found)))


def _without_less(texts: Sequence[str]) -> list[str]:
    """Without those that another one continues."""
    return [text for text in texts if not any(other != text and other.startswith(text) for other in texts)]


def problems(jobs: Sequence[Job], store: Store) -> Iterator[str]:
    """What is wrong with the adapters of the stages that are to be trained."""
    stages = [job.stage for job in jobs if job.stage and job.stage.recipe.adapter]
    if stages and find_spec("peft") is None:
        yield INSTALL
    yield from dict.fromkeys(text for stage in stages for text in _targets(stage, store))


def _targets(stage: Stage, store: Store) -> Iterator[str]:
    """Each target that no layer of the model is called by, with the names that there are."""
    assert stage.recipe.adapter
    layers = linear_layers(_parameters(stage.model, store))
    for target in stage.recipe.adapter.targets if layers else ():
        if not targeted(layers, [target]):
            names = ", ".join(sorted({layer.rpartition(".")[2] for layer in layers}))
            name = stage.model.name
            yield f"train.lora.targets=[{target}]: {name} has no layer of that name that can have one; valid: {names}"


def _parameters(model: Model, store: Store) -> Shapes:
    """The shapes of a model's parameters: by its dimensions, or as its files have them; empty where there are none."""
    if model.shape.model_type in ARCHITECTURES:
        return architectures.of(model.shape).parameters(model.shape)
    try:
        return {name: one.shape for name, one in weights.tensors(store.weights(model)).items()}
    except (RunError, OSError):
        return {}  # which is said by whoever looks for the weights
