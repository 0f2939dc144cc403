"""`sft-sweeps COMMAND ...`: finds the command, runs it, and says what went wrong in one message."""

import argparse
import os
import sys
from collections.abc import Sequence

from sft_sweeps import __version__
from sft_sweeps.commands.command import Command, asked_for
from sft_sweeps.errors import Interrupted, SweepError, say_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed, 2 the request was wrong, 75 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except SweepError as error:
        say_error(error)
        return error.exit_status
    except KeyboardInterrupt:
        return Interrupted.exit_status
    except (BrokenPipeError, SystemExit) as end:  # `sft-sweeps status | head`
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise  # argparse or Hydra ended; rich raises the same where a pipe broke
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at exit
        return 0


def _run(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:  # without importing any command
        print(__version__)
        return 0
    commands = asked_for(arguments)
    named = next((command for command in commands if command.name in arguments[:1]), None)
    if named and named.add_arguments is None:
        return named.run(argparse.Namespace(arguments=list(arguments[1:])))
    options = _parser(commands, named).parse_args(arguments)
    command: Command = options.command
    return command.run(options)


def _parser(commands: Sequence[Command], named: Command | None) -> argparse.ArgumentParser:
    """Of all commands their lines of help; the options of the one that was named."""
    text = "Launch sweeps of fine-tuning data, and see what came of them: their state and their scores."
    parser = argparse.ArgumentParser(prog="sft-sweeps", description=text)
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        subparser.set_defaults(command=command)
        if command is named and command.add_arguments:
            command.add_arguments(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
