"""Imported once by the local launcher's fork server, so that each job starts in milliseconds; computes nothing.

A torch operation here would start threads that a forked child does not have, and the child would hang.
"""

import warnings

warnings.filterwarnings("ignore", category=FutureWarning)

import deepspeed  # noqa: E402
import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: E402, F401  -- every initialize imports it, 1.3 s
import scipy.stats  # noqa: E402, F401
import torch  # noqa: E402, F401
import transformers.models.llama.modeling_llama  # noqa: E402, F401

import sft_sweeps.generate.answers  # noqa: E402
import sft_sweeps.train.stage  # noqa: E402, F401
