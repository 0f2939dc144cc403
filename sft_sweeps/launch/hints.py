"""Commands that a launch tells its user to type: they work as printed, in the folder in which it was launched."""

from sft_sweeps.config import site
from sft_sweeps.config.schema import Config


def sweep_command(command: str, sweep: str, config: Config) -> str:
    """`sft-sweeps COMMAND SWEEP`, with the store where that is not the one which the command takes by itself."""
    return site.command(config.output_dir, command, sweep)
