"""The resume states in a stage's folder, as they lie there: which are whole, and what they say of themselves.

`resume/step-00000123/` holds what every rank needs (DeepSpeed's own files under `zero/`) and `state.json`, which is
written last and names the other files with their sizes and checksums, and holds a checksum of itself: a state that is
incomplete, cut short or changed is recognised. Nothing here needs torch, so that a launcher can look.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sft_sweeps.files import checksum
from sft_sweeps.files.json_files import parse_line

log = logging.getLogger(__name__)

FOLDER = "resume"
STATE = "state.json"
TAG = "zero"
DAMAGED = ".damaged-"  # begins the name of a state that was passed over
WRITING = ".writing-"  # begins the name of what is being written, and of what a killed process left


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What `state.json` says: `step` steps are done; `files` are the sizes of the state's files in bytes.

    Writing it took `seconds`, on all ranks together (0: saved before that was measured). `checksums` are those of the
    files (none: saved before there were any), `threads` those of each process (0: saved before they were noted).
    """

    step: int
    processes: int
    zero_stage: int
    token_budget: int
    batches: int
    files: dict[str, int]
    seconds: float = 0.0
    checksums: dict[str, str] = field(default_factory=dict)
    threads: int = 0

    @property
    def name(self) -> str:
        return name(self.step)


def name(step: int) -> str:
    """The folder of the state after that many steps."""
    return f"step-{step:08d}"


def newest(folder: Path) -> ResumeState | None:
    """The valid resume state of the stage's folder with the most steps; invalid ones are passed over and reported."""
    for path in paths(folder):
        state, problem = read(path)
        if state:
            return state
        log.warning("passing over the resume state %s: %s", path, problem)
    return None


def processes(folder: Path) -> int:
    """How many processes the newest valid state of the stage's folder was saved with; 0 when there is none."""
    return next((state.processes for state in _valid(folder)), 0)


def save_seconds(folder: Path) -> float:
    """The longest that writing one of the valid states in the stage's folder took; 0 when nothing is known."""
    return max((state.seconds for state in _valid(folder)), default=0.0)


def paths(folder: Path) -> list[Path]:
    """The folders of the resume states, valid or not, the one with the most steps first."""
    return sorted((folder / FOLDER).glob("step-*"), reverse=True)


def read(path: Path) -> tuple[ResumeState | None, str]:
    """The state in a folder, or what is wrong with it; the files are looked at, and not into."""
    try:
        state = _parsed((path / STATE).read_text(encoding="utf-8"))
        present = sizes(path)
        if state.name != path.name or state.checksums.keys() != (state.checksums and state.files).keys():
            raise ValueError(f"it is that of {state.name}, with {len(state.checksums)} checksums")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return None, f"{STATE} cannot be read ({error})"
    wrong = [name for name, size in state.files.items() if present.get(name) != size]
    if wrong:
        return None, f"{', '.join(wrong)} missing or cut short"
    if others := sorted(present.keys() - state.files.keys()):
        return None, f"{', '.join(others)} does not belong to it"
    return state, ""


def _parsed(text: str) -> ResumeState:
    content = parse_line(text)
    state = ResumeState(**{key: value for key, value in content.items() if key != checksum.KEY})
    if state.checksums and not (checksum.KEY in content and checksum.is_whole(content)):
        raise ValueError("it is not what was written")
    return state


def write(path: Path, state: ResumeState) -> None:
    """Write `state.json`, when all other files of the state are there."""
    with (path / STATE).open("w", encoding="utf-8") as stream:
        json.dump(checksum.sealed(asdict(state)), stream, indent=2, sort_keys=True)
        stream.flush()
        os.fsync(stream.fileno())


def damaged(path: Path, state: ResumeState, part: int = 0, parts: int = 1) -> list[str]:
    """Files of a valid state that are not what was written; of several processes, each reads its part of them."""
    return checksum.damaged(path, dict(sorted(state.checksums.items())[part::parts]))


def set_aside(path: Path) -> None:
    """Take a damaged state out of those that are continued from and counted; the next save removes it."""
    target = path.with_name(f"{DAMAGED}{path.name}")
    shutil.rmtree(target, ignore_errors=True)
    path.rename(target)


def remove_all(folder: Path) -> None:
    """Remove every state in the stage's folder, whole or not: the stage is trained."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def sizes(path: Path) -> dict[str, int]:
    """The files of a state with their sizes in bytes."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != STATE)
    return {str(file.relative_to(path)): file.stat().st_size for file in sorted(files)}


def _valid(folder: Path) -> Iterator[ResumeState]:
    return (state for state, _ in map(read, paths(folder)) if state)
