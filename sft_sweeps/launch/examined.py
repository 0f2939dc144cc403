"""Asks transformers, in a process of its own, whether a decoder is trained exactly here (train/decoder.py)."""

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from sft_sweeps.models.folder import Examined

SECONDS = 300  # importing torch and transformers takes most of it, from a slow shared folder


def examine(folder: Path) -> Examined:
    """What transformers says of a model folder's config.json."""
    return _examined(str(folder), (folder / "config.json").read_bytes())


@lru_cache(maxsize=16)
def _examined(folder: str, config: bytes) -> Examined:  # noqa: ARG001 -- the key
    command = [sys.executable, "-m", "sft_sweeps.train.decoder", folder]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Examined(f"transformers did not answer within {SECONDS} seconds")
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["it was killed"])[-1]
        return Examined(f"transformers could not be asked ({reason:.200})")
    said = json.loads(asked.stdout.splitlines()[-1])
    return Examined(**{**said, "parameters": {name: tuple(shape) for name, shape in said["parameters"].items()}})
