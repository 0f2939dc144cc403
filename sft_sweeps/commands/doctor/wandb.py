"""Whether Weights & Biases can be reached with the key that is here. A key is never shown, nor how long it is."""

import base64
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib import metadata
from typing import Any

from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.errors import visible
from sft_sweeps.launch import points
from sft_sweeps.tracking.wandb import NAME
from sft_sweeps.tracking.wandb_key import find_key, server

PATIENCE = 8.0  # seconds for the server to answer
MOST_BYTES = 1 << 20
MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
LATER = "later: sft-sweeps sync; or tracking=none"
QUESTION = {"query": "query Viewer { viewer { username entity } }"}


def asked(request: DoctorRequest) -> Iterator[Finding]:
    """As the launch that was typed would use it, or one without overrides."""
    points.check(request.points)
    tracking = request.points[0].config.tracking
    if tracking.name != NAME:
        yield Finding("ok", "tracking", f"tracking={tracking.name}: W&B is not used")
        if not request.named:
            return
    try:
        yield Finding("ok", "library", f"wandb {metadata.version('wandb')}")
    except metadata.PackageNotFoundError:
        yield Finding("problem", "library", "wandb is not installed", "pip install wandb, or tracking=none")
        return
    mode = os.environ.get("WANDB_MODE", "")
    if mode and mode not in MODES:
        text = f"WANDB_MODE={visible(mode)} is none of W&B's"
        yield Finding("problem", "mode", text, f"one of {', '.join(MODES)}; or unset WANDB_MODE")
    if tracking.mode == "offline" or (tracking.mode == "auto" and mode in ("offline", "dryrun", "disabled")):
        yield Finding("ok", "mode", f"offline: nothing is sent; {LATER}")
        return
    key, where = find_key()
    if not key:
        text = "no key: stages are written offline into their folders"
        yield Finding("warning", "key", text, f"wandb login, or WANDB_API_KEY in the environment; {LATER}")
        return
    yield Finding("ok", "key", f"one is in {where}")
    yield _server(server(), key, tracking.entity or "")


def _server(url: str, key: str, entity: str) -> Finding:
    """Whose key it is, asked with one question."""
    try:
        status, said = _ask(f"{url}/graphql", key)
    except (OSError, ValueError) as error:
        why = visible(str(getattr(error, "reason", error))).replace(key, "***")
        change = f"a network or a proxy (HTTPS_PROXY), WANDB_BASE_URL; or {LATER}"
        return Finding("warning", "server", f"{url} does not answer: {why}; stages go offline then", change)
    viewer = ((said.get("data") or {}).get("viewer") if isinstance(said, dict) else None) or {}
    if status in (401, 403) or (status == 200 and not viewer):
        return Finding("problem", "server", f"{url} refuses the key", "wandb login --relogin, or a valid WANDB_API_KEY")
    if status != 200:
        return Finding("warning", "server", f"{url} answers with {status}", f"try again; {LATER}")
    who = visible(str(viewer.get("username", "?")))
    return Finding("ok", "server", f"{url} knows the key as {who}'s{f'; runs go to {entity}' if entity else ''}")


def _ask(url: str, key: str) -> tuple[int, Any]:
    """The status and what came with it; OSError without an answer in time."""
    header = base64.b64encode(f"api:{key}".encode()).decode()
    headers = {"Authorization": f"Basic {header}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(QUESTION).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.loads(response.read(MOST_BYTES))
    except urllib.error.HTTPError as error:
        return error.code, None
    except TimeoutError as error:
        raise OSError(f"no answer within {PATIENCE:g} s") from error
