"""`sft-sweeps launch`: what `python launch.py` does in a checkout, from any folder; Hydra reads its arguments."""

import argparse

from sft_sweeps.commands.command import Command


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.config import command_line
    from sft_sweeps.launch import run

    return command_line.main(run.run, options.arguments, "sft-sweeps launch")


COMMAND = Command("launch", "plan a sweep, or run it: the same as python launch.py in a checkout", _run)
