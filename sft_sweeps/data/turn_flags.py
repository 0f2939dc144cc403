"""What a turn says of its own training: `weight`, `train` and the like, 1 or 0, true or false.

An answer of weight 0 is given to be read, as a prompt is, and never learnt. No other weight than 0 and 1 is taken: the
loss is a mean over tokens that are learnt alike (train/loss.py), and a weight belongs to a source (`data.weight`).
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

# Whether, or how much, something is learnt. What is listed first may be any number, the others only yes or no.
WEIGHTS = ("weight", "weights", "loss_weight", "sample_weight")
TRAINED = ("train", "training", "trainable", "trained", "loss", "loss_mask", "compute_loss", "train_on_turn")
LEARNT = ("learn", "supervise", "supervised", "is_trained", "train_on", "to_train", "include_in_training")
STRICT = frozenset({*WEIGHTS, *TRAINED})  # must be yes or no, where they say anything
FLAGS = STRICT | frozenset(LEARNT)
YES, NO = frozenset({"true", "yes", "1", "1.0", "y"}), frozenset({"false", "no", "0", "0.0", "n", "-1", "-1.0"})
ZERO = NO - {"-1", "-1.0"}
NOTHING_LEARNT = "no_answer_to_learn"  # of a row, or a part of one, all of whose answers have weight 0


def asked(turn: Mapping[str, Any]) -> Literal["learn", "leave", "unclear"]:
    """What a turn asks for; `unclear` where it is neither yes nor no, as of weight 0.5."""
    if turn.keys().isdisjoint(FLAGS):
        return "learn"
    words = {word(turn[key]) for key in STRICT & turn.keys()} - {""}
    words |= {word(turn[key]) for key in LEARNT if key in turn} & NO
    if not words <= YES | ZERO:
        return "unclear"
    return "leave" if words & NO else "learn"


def is_one(value: Any) -> bool:
    """Whether a value says yes, or nothing."""
    return not says_something(value) or word(value) in YES


def word(value: Any) -> str:
    """A yes or no as it may be spelt; "" for null and what is empty."""
    return str(value).strip().lower() if says_something(value) else ""


def says_something(value: Any) -> bool:
    """Whether a value is more than null, a NaN (the null of a table's numbers), or a container of nothing else.

    A text that is an empty list or object in JSON is such a container.
    """
    if isinstance(value, float):
        return not math.isnan(value)
    if isinstance(value, str | list | dict):
        parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
        return _text_says(value) if isinstance(value, str) else any(map(says_something, parts))
    return value is not None


def _text_says(text: str) -> bool:
    text = text.strip()
    if text in ("", "null", "None", "NaN", "nan"):
        return False
    if text[0] in "[{" and text[-1] in "]}" and len(text) < 16:
        try:
            return says_something(json.loads(text))
        except ValueError:
            return True
    return True
