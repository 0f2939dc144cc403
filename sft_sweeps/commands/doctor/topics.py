"""The topics, in the order in which they are asked; a module each, imported when it is asked."""

from collections.abc import Iterator
from importlib import import_module

from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import Ask, DoctorRequest, Topic


def _of(module: str) -> Ask:
    """What asks a topic: `asked` of its module."""

    def ask(request: DoctorRequest) -> Iterator[Finding]:
        found: Iterator[Finding] = import_module(f"sft_sweeps.commands.doctor.{module}").asked(request)
        return found

    return ask


TOPICS = {
    "gpu": Topic("drivers, torch, NCCL, DeepSpeed, kernels", _of("gpu"), 90.0),
    "data": Topic("sources, test files and encodings of a launch", _of("data"), 120.0, composed=True),
    "model": Topic("weights, tokenizer and memory of a launch", _of("model"), 120.0, composed=True),
    "store": Topic("the folder of the results, and what is damaged in it", _of("store"), 120.0),
    "wandb": Topic("key, server and folder of Weights & Biases", _of("wandb"), 30.0, composed=True),
    "judge": Topic("key, endpoint and texts of a judge", _of("judge"), 30.0, composed=True),
    "slurm": Topic("commands, limits, partitions and folders of a cluster", _of("slurm"), 60.0),
    "sandbox": Topic("what programs that models write may do here", _of("sandbox"), 300.0),
}
NODE_SECONDS = 180.0  # that a compute node may take to answer, too
