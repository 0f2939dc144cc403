"""Commands that a launch tells its user to type: they work as printed, in the folder in which it was launched."""

import shlex
from pathlib import Path

from sft_sweeps.config import site
from sft_sweeps.config.schema import Config


def sweep_command(command: str, sweep: str, config: Config) -> str:
    """`sft-sweeps COMMAND SWEEP`, with the store where that is not the one which the command takes by itself."""
    same = Path(config.output_dir).absolute() == Path(site.output_dir()).absolute()
    words = ["sft-sweeps", command, sweep, *([] if same else ["--output-dir", config.output_dir])]
    return shlex.join(words)
