"""What of the environment gets into a configuration: folders and the user's name, which are no secrets.

Sweeps keep their configuration whole, and reports are published: a key must not get into them.
"""

import os
from pathlib import Path

from omegaconf import OmegaConf

RESOLVER = "oc.env"
NAMES = ("USER", "LOGNAME")


def restrict() -> None:
    """Make `${oc.env:NAME}` an error wherever it stands, but where it holds a folder that is there, or of NAMES."""
    OmegaConf.register_new_resolver(RESOLVER, _value, replace=True)


def _value(name: str, default: str | None = None) -> str:
    value = os.environ.get(name)
    if value is None and default is not None:
        return default
    if value is None:
        raise ValueError(f"${{oc.env:{name}}}: the environment has no {name}. Set it, or type the value itself.")
    if name in NAMES or (value.startswith("/") and Path(value).is_dir()):
        return value
    raise ValueError(
        f"${{oc.env:{name}}} would keep the value of {name} with the sweep; only a folder that is there may be named "
        f'so. Type it where the shell fills it in, KEY="${name}"; of a key, name the variable alone: '
        f"evaluate.mt_bench.judge.key_variable={name}"
    )
