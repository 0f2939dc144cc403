"""`sft-sweeps COMMAND ...`: finds the command, runs it, and says what went wrong in one message."""

import argparse
import os
import sys
from collections.abc import Sequence

from sft_sweeps import __version__, interrupts
from sft_sweeps.commands import manual
from sft_sweeps.commands.command import find
from sft_sweeps.errors import Interrupted, RequestError, SweepError, say_error

ASKED = "_ARGCOMPLETE"  # set where the shell asks how a line can go on (completing.py)
HELP = ("-h", "--help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 something failed, 2 the request was wrong, 75 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if ASKED in os.environ:  # the shell's Tab key
        from sft_sweeps.commands import completing

        completing.complete()
    try:
        with interrupts.after_imports():
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
    if not arguments or arguments[0] in HELP:
        print(manual.overview(), end="")
        return 0 if arguments else RequestError.exit_status
    name, *rest = arguments
    if name.startswith("-"):
        raise RequestError(f"{name} stands before a command, where there are --help and --version alone")
    command = find(name)
    if command.reads_itself:
        if set(HELP) & set(rest):
            print(manual.page(command), end="")
            return 0
        return command.run(argparse.Namespace(arguments=rest))
    return command.run(manual.parser_of(command).parse_args(rest))


if __name__ == "__main__":
    sys.exit(main())
