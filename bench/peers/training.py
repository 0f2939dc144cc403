"""What the peers that train have in common: the batches of bench/trl_speed.py, ours beside each of their ways."""

import os
from collections.abc import Iterator, Mapping

from bench import trl_speed
from bench.peers.peer import Row, Settings, row

PROFILE = "mixed"
WHAT = "training steps of 16 examples of mixed lengths"


def compare(ways: Mapping[str, trl_speed.Way], settings: Settings) -> Iterator[Row]:
    """Tokens a CPU second of training steps on one process of one thread; losses are compared at every step."""
    quiet = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}
    os.environ.update(quiet, OMP_NUM_THREADS="1")
    every = {"ours": trl_speed.ours, **ways}
    with trl_speed.base_model() as base:
        found = trl_speed.rounds_of(every, base, PROFILE, settings.steps, settings.rounds)
    tokens = trl_speed.tokens_a_step(PROFILE, settings.steps) * settings.steps
    speeds = {name: [tokens / seconds for seconds, _ in rounds[1:]] for name, rounds in found.items()}
    for name in ways:
        gap = max(1e-6, trl_speed.loss_gap({"ours": found["ours"], name: found[name]}))  # fp32 tells no less apart
        gap_text = f"losses within {gap:.0e}"
        yield row(WHAT, "tokens a CPU second", "more", (speeds["ours"], speeds[name]), how=name, note=gap_text)
