"""From a model's shape to FLOPs, GPU-hours and disk. Estimates, used by the plan and named as such.

FLOPs of a token: 6 N plus attention, 12 * layers * width of all heads * length (Kaplan et al. 2020, section 2.1;
forward and backward; beside an adapter 4 N). GPU-hours assume 40 % of an A100's 312 TFLOP/s in bf16.
"""

from sft_sweeps.models import adapter as adapters
from sft_sweeps.models import architectures
from sft_sweeps.spec.adapter import Adapter
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
AVERAGING = 8e8  # bytes/s of one core, measured
WRITING = 1e9  # bytes/s to a shared file system, assumed until it is measured


def parameters(shape: Shape) -> int:
    """Number of weights of a model of this shape."""
    return architectures.count_parameters(shape)


def flops_per_token(shape: Shape, length: float, adapter: Adapter | None = None) -> float:
    """Forward and backward, for a token of an example of `length` tokens (on average half of them are attended)."""
    products = 6 * parameters(shape)
    if own := beside(shape, adapter):  # frozen weights have no gradient, which is a third of the operations
        products = 4 * parameters(shape) + 6 * own
    return products + 12 * shape.layers * shape.heads * shape.head_width * length / 2


def beside(shape: Shape, adapter: Adapter | None) -> int:
    """The weights of an adapter; 0 where there is none."""
    return adapters.count_parameters(shape, adapter) if adapter else 0


def trained(shape: Shape, adapter: Adapter | None) -> int:
    """The weights that are trained, and that have gradients and optimizer states."""
    return beside(shape, adapter) or parameters(shape)


def peak_flops(device: str, precision: str) -> float:
    """Dense operations a second that the maker states for a device of this name; 0 where nothing is known."""
    return next((peak for name, peak in PEAK_FLOPS if name in device), 0.0) if precision == "bf16" else 0.0


def gpu_hours(stage: Stage) -> float:
    """Estimated A100-hours of a stage; 0 for a model that needs no GPU."""
    return a100_hours(stage) if stage.model.gpus else 0.0


def a100_hours(stage: Stage) -> float:
    """What a stage would take an A100, whatever it runs on: for the proportions between stages."""
    return stage_flops(stage) / (A100_FLOPS * ASSUMED_UTILIZATION) / 3600


def stage_flops(stage: Stage) -> float:
    """Operations of training a stage."""
    flops, shape = 0.0, stage.model.shape
    for c in stage.mixture.components:
        flops += c.shown * c.source.mean_tokens * flops_per_token(shape, c.source.mean_tokens, stage.recipe.adapter)
    return stage.recipe.epochs * flops


def representation_gpu_hours(one: Representations) -> float:
    """Estimated A100-hours of reading queries once, as long as the source's examples; 0 for a model without GPUs."""
    model, queries = one.subject.model, one.queries
    if model.gpus == 0:
        return 0.0
    length = queries.source.mean_tokens
    forward = flops_per_token(model.shape, length) / 3  # the backward pass is twice as much
    return queries.examples * length * forward / (A100_FLOPS * ASSUMED_UTILIZATION) / 3600


def model_gb(of: Stage | Merge, *, merged: bool = False) -> float:
    """Disk of what is kept when it is finished in GB (1e9 bytes): a model; of an adapter it alone, or `merged` too."""
    stage = of.parents[0] if isinstance(of, Merge) else of
    adapter = kept_parameters(of) if isinstance(of, Stage) else 0
    whole = parameters(stage.model.shape) if merged or not adapter else 0
    return (adapter * BYTES["fp32"] + whole * BYTES[stage.recipe.model_dtype]) / 1e9


def kept_parameters(stage: Stage) -> int:
    """The weights of the adapter that a stage leaves: under `stack` with those of the stages before it; 0 without."""
    own, parent = stage.recipe.adapter, stage.parent
    before = kept_parameters(parent) if own and own.then == "stack" and isinstance(parent, Stage) else 0
    return beside(stage.model.shape, own) + before


def merge_seconds(merge: Merge) -> float:
    """Estimated time of averaging, on a CPU: each model is read twice (is it what was written?), the result thrice."""
    return model_gb(merge) * 1e9 * (2 * len(merge.parents) + MERGED_PASSES) / AVERAGING


def resume_gb(shape: Shape, adapter: Adapter | None = None) -> float:
    """Disk of one resume state in GB (1e9 bytes)."""
    return trained(shape, adapter) * RESUME_BYTES / 1e9


def save_seconds(shape: Shape, adapter: Adapter | None = None) -> float:
    """Estimated time of writing one resume state."""
    return resume_gb(shape, adapter) * 1e9 / WRITING
