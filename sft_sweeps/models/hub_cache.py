"""Where Hugging Face's cache keeps the models of its hub: models--OWNER--NAME/snapshots/COMMIT."""

import os
import re
from pathlib import Path

COMMIT = re.compile("[0-9a-f]{40}")


HUB = "hub:"  # begins what weights of the hub are called


def repository_and_revision(weights: str) -> tuple[str, str]:
    """ORG/NAME and REVISION of `hub:ORG/NAME@REVISION`; two empty texts for weights that are not the hub's."""
    name, _, revision = weights.removeprefix(HUB).partition("@") if weights.startswith(HUB) else ("", "", "")
    return name, revision


def folder_of(weights: str) -> Path:
    """The folder of `hub:ORG/NAME@REVISION`."""
    name, revision = repository_and_revision(weights)
    return _cache(name) / "snapshots" / revision


def repository_of(folder: Path) -> str:
    """The repository of a folder in the cache; empty for one that is elsewhere."""
    cache = folder.parent.parent.name
    is_cached = folder.parent.name == "snapshots" and cache.startswith("models--")
    return cache.removeprefix("models--").replace("--", "/", 1) if is_cached else ""


def revision_of(name: str, revision: str) -> str:
    """The commit that the cache has for a branch or tag of a repository; as given where it has none."""
    try:
        commit = (_cache(name) / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return revision
    return commit if COMMIT.fullmatch(commit) else revision


def _cache(name: str) -> Path:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return cache / f"models--{name.replace('/', '--')}"
