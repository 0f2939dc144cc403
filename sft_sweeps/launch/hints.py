"""Commands that a launch tells its user to type: they work as printed, in the folder in which it was launched."""

import shlex

from sft_sweeps.config import site
from sft_sweeps.config.schema import Config


def sweep_command(command: str, sweep: str, config: Config) -> str:
    """`sft-sweeps COMMAND SWEEP`, with the store where that is not the one which the command takes by itself."""
    return shlex.join(["sft-sweeps", command, sweep, *site.store_option(config.output_dir)])
