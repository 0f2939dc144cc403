"""Imported once by the local launcher's fork server, so that each job starts in milliseconds; computes nothing.

A torch operation here would start threads that a forked child does not have, and the child would hang.
"""

import warnings

from sft_sweeps import garbage

warnings.filterwarnings("ignore", category=FutureWarning)

with garbage.uncollected():
    import scipy.stats  # noqa: F401
    import transformers.models.llama.modeling_llama  # noqa: F401

    import sft_sweeps.generate.answers
    import sft_sweeps.train.stage  # noqa: F401
