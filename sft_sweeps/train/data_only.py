"""Loading what torch saved without running anything of it: a pickle may name any function, called when it is read.

`torch.load(weights_only=True)` takes tensors and plain values, and of classes only those that are allowed. DeepSpeed
asks for the opposite wherever it loads; an environment variable of torch's overrules it. `PLAIN` are the classes that
DeepSpeed's checkpoints hold, none of which does anything when it is made.
"""

import os
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager

import torch

VARIABLE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
PLAIN = (
    "deepspeed.utils.tensor_fragment.fragment_address",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
)


@contextmanager
def data_only() -> Iterator[None]:
    """Whatever torch loads meanwhile, for whomever, is data; pickle.UnpicklingError for all else."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "1"
    try:
        with torch.serialization.safe_globals([pkgutil.resolve_name(name) for name in PLAIN]):
            yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
