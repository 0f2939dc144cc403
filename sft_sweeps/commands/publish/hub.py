"""A published folder as a repository of the Hugging Face hub: made private, and only where nothing else is.

The token is the one that huggingface_hub finds (HF_TOKEN, or what `hf auth login` kept). What is uploaded already is
not uploaded again: the hub knows files by their content.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_sweeps.commands.publish.folder import MARK
from sft_sweeps.errors import RequestError, RunError, SweepError

ADDED_BY_THE_HUB = {".gitattributes"}
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
LONGEST = 96  # characters of a repository's name


def check_name(repository: str) -> None:
    """RequestError where the hub would not take a name."""
    odd = not NAME.fullmatch(repository) or repository.endswith((".", "-", ".git")) or ".." in repository
    if odd or "--" in repository or len(repository) > LONGEST:
        raise RequestError(
            f"--push {repository} is no name of a repository; type OWNER/NAME, of letters, digits, '-', '_' and '.', "
            f"at most {LONGEST} characters"
        )


def push(folder: Path, repository: str, *, public: bool = False) -> str:
    """Upload a published folder; the repository's address. RequestError, RunError say in a line why it is not there."""
    with _in_a_line(repository):
        api = _api()
        made = api.create_repo(repository, private=not public, exist_ok=True)
        held = set(api.list_repo_files(repository)) - ADDED_BY_THE_HUB
        if held and MARK not in held:
            raise RequestError(f"{repository} holds something else and is left alone; type another: --push OWNER/NAME")
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Published with sft-sweeps",
            delete_patterns=["*.safetensors", ".eval_results/*"],  # those of an earlier one; what is uploaded stays
        )
        return str(made)


def _api() -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not os.isatty(2):
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="sft-sweeps")


@contextlib.contextmanager
def _in_a_line(repository: str) -> Iterator[None]:
    """What goes wrong with the hub, without a traceback and without the token."""
    from huggingface_hub import errors

    where = f"{repository} was not pushed (its folder is there)"
    token = "set HF_TOKEN to one that may write there"
    try:
        yield
    except SweepError:
        raise
    except errors.OfflineModeIsEnabled:
        raise RequestError(f"{where}: HF_HUB_OFFLINE is set; unset it where there is a network") from None
    except errors.LocalTokenNotFoundError:
        raise RequestError(f"{where}: no token was found; {token}") from None
    except Exception as error:  # of whichever library huggingface_hub speaks HTTP with
        status = _status(error)
        if status in (401, 403):
            raise RequestError(f"{where}: the hub refused the token ({status}); {token}") from None
        line = " ".join(str(error).split())
        why = f"the hub answered {status}" if status else f"{type(error).__name__} ({line})"
        raise RunError(f"{where}: {why}; try again: what is uploaded stays") from None


def _status(error: BaseException | None) -> int:
    """The status that the hub answered with; 0 where it was something else."""
    while error is not None:
        if status := getattr(getattr(error, "response", None), "status_code", 0):
            return int(status)
        error = error.__cause__
    return 0
