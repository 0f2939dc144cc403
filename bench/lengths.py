"""Lengths of examples as the three abilities' data has them.

LENGTHS are those of GSM8K, Code Alpaca and ShareGPT under the Vicuna template with LLaMA's tokenizer, cut at 2,048
tokens: the rows of each sorted by length, in 40 equal parts, the mean of each part. Each is drawn as often as another.
"""

import numpy as np

from sft_sweeps.data.encode.encoder import Encoded

ORIGIN = "means of fortieths"  # where the lengths come from, for the results: those of before have "real"
# fmt: off
LENGTHS: dict[str, tuple[int, ...]] = {
    "gsm8k": (
        126, 138, 146, 152, 157, 162, 166, 171, 175, 179, 183, 187, 191, 195, 199, 203, 207, 211, 215, 220, 224,
        229, 234, 238, 243, 249, 255, 261, 267, 274, 279, 287, 295, 305, 315, 328, 344, 364, 391, 457,
    ),
    "code_alpaca": (
        60, 66, 69, 72, 75, 77, 80, 82, 85, 88, 90, 93, 95, 98, 101, 104, 107, 110, 113, 116, 119, 123, 126, 130,
        134, 138, 142, 147, 152, 158, 164, 171, 179, 187, 197, 210, 227, 253, 295, 431,
    ),
    "sharegpt": (
        91, 193, 276, 341, 400, 457, 519, 583, 654, 730, 806, 886, 977, 1076, 1181, 1291, 1396, 1503, 1599, 1683,
        1762, 1829, 1890, 1950, 1999, 2042, 2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048,
        2048, 2048,
    ),
}
# fmt: on
SUPERVISED = {"gsm8k": 0.55, "code_alpaca": 0.50, "sharegpt": 0.74}  # share of the tokens
MIXED = ("gsm8k",) * 8 + ("code_alpaca",) * 2 + ("sharegpt",) * 6  # of 16 examples
PROFILES = {**{name: (name,) * 16 for name in LENGTHS}, "mixed": MIXED}


def batches(profile: str, count: int, vocabulary: int, seed: int = 0, longest: int = 2048) -> list[list[Encoded]]:
    """So many batches of 16 examples of random tokens; the ends of them are supervised."""
    stream = np.random.RandomState(seed)
    return [
        [
            _example(f"{step}/{index}", name, min(longest, int(stream.choice(LENGTHS[name]))), vocabulary, stream)
            for index, name in enumerate(PROFILES[profile])
        ]
        for step in range(count)
    ]


def _example(name: str, source: str, length: int, vocabulary: int, stream: np.random.RandomState) -> Encoded:
    first = max(1, round(length * (1 - SUPERVISED[source])))
    ids = stream.randint(3, vocabulary, length).astype(np.int32)
    return Encoded(name, source, ids, np.arange(length) >= first)
