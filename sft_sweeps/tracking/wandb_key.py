"""Where Weights & Biases is, and the key that it would find there."""

import netrc
import os
from contextlib import suppress
from urllib.parse import urlparse

NO_KEY = "no key of Weights & Biases is found; type: wandb login, or set WANDB_API_KEY"


def server() -> str:
    """The address of W&B's server."""
    return (os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").rstrip("/")


def has_key() -> bool:
    """Whether W&B would find a key of this user without asking."""
    return bool(find_key()[0])


def find_key() -> tuple[str, str]:
    """The key that W&B would find without asking, and where; both empty where there is none."""
    if key := os.environ.get("WANDB_API_KEY"):
        return key, "WANDB_API_KEY"
    with suppress(OSError, netrc.NetrcParseError):
        if found := netrc.netrc(path := os.environ.get("NETRC")).authenticators(urlparse(server()).hostname or ""):
            return found[2], path or "~/.netrc"
    return "", ""
