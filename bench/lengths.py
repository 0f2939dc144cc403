"""Lengths of examples as the three abilities' data has them: real ones where they are at hand, else log-normal ones.

The real lists are those of GSM8K, Code Alpaca and ShareGPT under the Vicuna template with LLaMA's tokenizer, cut at
2,048 tokens. The drawn ones have their medians, spreads and limits.
"""

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sft_sweeps.data.encode.encoder import Encoded

REAL = Path(__file__).parents[2] / "shared" / "data" / "oracles"
DRAWN = {"gsm8k": (215, 0.35, 90, 610), "code_alpaca": (118, 0.55, 50, 1899), "sharegpt": (1500, 0.7, 43, 2048)}
SUPERVISED = {"gsm8k": 0.55, "code_alpaca": 0.50, "sharegpt": 0.74}  # share of the tokens
MIXED = ("gsm8k",) * 8 + ("code_alpaca",) * 2 + ("sharegpt",) * 6  # of 16 examples
PROFILES = {**{name: (name,) * 16 for name in DRAWN}, "mixed": MIXED}


def origin() -> str:
    """Where the lengths come from."""
    return "real" if REAL.is_dir() else "log-normal"


def batches(profile: str, count: int, vocabulary: int, seed: int = 0, longest: int = 2048) -> list[list[Encoded]]:
    """So many batches of 16 examples of random tokens; the ends of them are supervised."""
    stream = np.random.RandomState(seed)
    pools = {name: _lengths(name, stream) for name in set(PROFILES[profile])}
    return [
        [
            _example(f"{step}/{at}", name, min(longest, int(stream.choice(pools[name]))), vocabulary, stream)
            for at, name in enumerate(PROFILES[profile])
        ]
        for step in range(count)
    ]


def _lengths(name: str, stream: np.random.RandomState) -> npt.NDArray[np.int64]:
    path = REAL / f"lengths_{name}_cut2048.npy.gz"
    if path.is_file():
        with gzip.open(path) as file:
            return np.asarray(np.load(file), dtype=np.int64)
    median, sigma, least, most = DRAWN[name]
    drawn = np.exp(stream.normal(np.log(median), sigma, 5000))
    return np.clip(drawn, least, most).astype(np.int64)


def _example(name: str, source: str, length: int, vocabulary: int, stream: np.random.RandomState) -> Encoded:
    first = max(1, round(length * (1 - SUPERVISED[source])))
    ids = stream.randint(3, vocabulary, length).astype(np.int32)
    return Encoded(name, source, ids, np.arange(length) >= first)
