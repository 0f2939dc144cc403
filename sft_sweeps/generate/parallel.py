"""How a model is spread over GPUs to answer: replicas of as few GPUs each as hold it."""

from sft_sweeps import cost
from sft_sweeps.errors import RequestError
from sft_sweeps.spec import Shape

ROOM = 0.75  # of a GPU's memory may be weights; the rest holds the keys and values of what is being answered


def divisors(heads: int) -> list[int]:
    """Tensor-parallel sizes that a model with so many attention heads allows (52 heads: 1, 2, 4, 13, 26, 52)."""
    return [size for size in range(1, heads + 1) if heads % size == 0]


def spread(shape: Shape, dtype: str, gpus: int, gpu_gb: float) -> tuple[int, int]:
    """(tensor-parallel size, replicas) on a node; RequestError where the weights do not fit into any that divides."""
    weights = cost.parameters(shape) * cost.BYTES[dtype] / 1e9
    valid = [size for size in divisors(shape.heads) if size <= gpus and shape.kv_heads % size == 0]
    for size in valid:
        if weights / size <= ROOM * gpu_gb:
            return size, gpus // size
    raise RequestError(
        f"{weights:.0f} GB of weights do not fit into {gpus} GPUs of {gpu_gb:.0f} GB: {shape.heads} attention heads "
        f"can be spread over {', '.join(map(str, valid))} of them only"
    )


def check(heads: int, size: int) -> None:
    """RequestError unless a tensor-parallel size divides the heads."""
    if size < 1 or heads % size:
        valid = ", ".join(map(str, divisors(heads)))
        raise RequestError(f"{heads} attention heads cannot be spread over {size} GPUs; valid: {valid}")
