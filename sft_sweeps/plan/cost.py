"""From a model's shape to FLOPs, GPU-hours and disk. Estimates, used by the plan and named as such.

FLOPs of a token: 6 N plus attention, 12 * layers * width of all heads * length (Kaplan et al. 2020, section 2.1;
forward and backward). GPU-hours assume 40 % of an A100's 312 TFLOP/s in bf16.
"""

from sft_sweeps.models import architectures
from sft_sweeps.spec.evaluation import Representations
from sft_sweeps.spec.merge import Merge
from sft_sweeps.spec.training import Shape, Stage

A100_FLOPS = 312e12
# In bf16 without sparsity, from NVIDIA's data sheets, by what torch calls the device; the first that fits.
PEAK_FLOPS = (
    ("A100", A100_FLOPS),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H200", 989e12),
)
ASSUMED_UTILIZATION = 0.4
BYTES = {"fp32": 4, "bf16": 2}
RESUME_BYTES = 12  # of one parameter in a resume state: fp32 weight and two moments
MERGED_PASSES = 3  # over the average: written, and read for its digest and its checksum
AVERAGING = 3e8  # bytes/s of one core, measured
WRITING = 1e9  # bytes/s to a shared file system, assumed until it is measured


def parameters(shape: Shape) -> int:
    """Number of weights of a model of this shape."""
    return architectures.count_parameters(shape)


def flops_per_token(shape: Shape, length: float) -> float:
    """Forward and backward, for a token of an example of `length` tokens (on average half of them are attended)."""
    return 6 * parameters(shape) + 12 * shape.layers * shape.heads * shape.head_width * length / 2


def peak_flops(device: str, precision: str) -> float:
    """Dense operations a second that the maker states for a device of this name; 0 where nothing is known."""
    return next((peak for name, peak in PEAK_FLOPS if name in device), 0.0) if precision == "bf16" else 0.0


def gpu_hours(stage: Stage) -> float:
    """Estimated A100-hours of a stage; 0 for a model that needs no GPU."""
    return a100_hours(stage) if stage.model.gpus else 0.0


def a100_hours(stage: Stage) -> float:
    """What a stage would take an A100, whatever it runs on: for the proportions between stages."""
    flops = 0.0
    for c in stage.mixture.components:
        flops += c.shown * c.source.mean_tokens * flops_per_token(stage.model.shape, c.source.mean_tokens)
    return stage.recipe.epochs * flops / (A100_FLOPS * ASSUMED_UTILIZATION) / 3600


def representation_gpu_hours(one: Representations) -> float:
    """Estimated A100-hours of reading queries once, as long as the source's examples; 0 for a model without GPUs."""
    model, queries = one.subject.model, one.queries
    if model.gpus == 0:
        return 0.0
    length = queries.source.mean_tokens
    forward = flops_per_token(model.shape, length) / 3  # the backward pass is twice as much
    return queries.examples * length * forward / (A100_FLOPS * ASSUMED_UTILIZATION) / 3600


def model_gb(of: Stage | Merge) -> float:
    """Disk of the finished model in GB (1e9 bytes)."""
    stage = of.parents[0] if isinstance(of, Merge) else of
    return parameters(stage.model.shape) * BYTES[stage.recipe.model_dtype] / 1e9


def merge_seconds(merge: Merge) -> float:
    """Estimated time of averaging, on a CPU: each model is read twice (is it what was written?), the result thrice."""
    return model_gb(merge) * 1e9 * (2 * len(merge.parents) + MERGED_PASSES) / AVERAGING


def resume_gb(shape: Shape) -> float:
    """Disk of one resume state in GB (1e9 bytes)."""
    return parameters(shape) * RESUME_BYTES / 1e9


def save_seconds(shape: Shape) -> float:
    """Estimated time of writing one resume state."""
    return resume_gb(shape) * 1e9 / WRITING
