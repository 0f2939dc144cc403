"""`sft-sweeps completion SHELL`: the shell's code that completes our command lines, printed or installed."""

import argparse
import os
import shlex
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, print_json
from sft_sweeps.errors import RequestError

SCHEMA = 1
PROGRAM = "sft-sweeps"
SHELLS = ("bash", "zsh", "fish")
# zsh has no completion before compinit; who has a configuration of its own has called it.
BEGINNING = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"}
MARK = "# completion of sft-sweeps"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", nargs="?", choices=SHELLS, help="default: the one that SHELL names")
    parser.add_argument("--install", action="store_true", help="for every shell that you start from now on")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    shell = options.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SHELLS:
        raise RequestError(f"name your shell: {PROGRAM} completion {'|'.join(SHELLS)}")
    text = code(shell)
    written = install(shell, text) if options.install else []
    if options.json:
        print_json(SCHEMA, {"shell": shell, "code": text, "written": list(map(str, written))})
    elif options.install:
        print(*(f"written: {path}" for path in written), f"start a new {shell}, and press Tab", sep="\n")
    else:
        print(text, end="")
    return 0


def code(shell: str) -> str:
    """What the shell is to read; argcomplete wrote it."""
    from argcomplete.shell_integration import shellcode

    return BEGINNING.get(shell, "") + str(shellcode([PROGRAM], shell=shell)).lstrip("\n")


def install(shell: str, text: str) -> list[Path]:
    """The code as a file that the shell finds by itself, or that a line in its own file reads; what was written."""
    home = Path.home()
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    path = (
        config / "fish" / "completions" / f"{PROGRAM}.fish"
        if shell == "fish"
        else data / PROGRAM / f"completion.{shell}"
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return [path] if shell == "fish" else [path, *_read_by(Path(os.environ.get("ZDOTDIR") or home), shell, path)]
    except OSError as error:
        raise RequestError(
            f"{error.filename} cannot be written ({error.strerror}); print the code: {PROGRAM} completion {shell}"
        ) from error


def _read_by(folder: Path, shell: str, path: Path) -> list[Path]:
    """The shell's own file, where it got a line that reads ours; none where it had it."""
    own = (Path.home() if shell == "bash" else folder) / f".{shell}rc"
    line = f"[ -r {shlex.quote(str(path))} ] && . {shlex.quote(str(path))}  {MARK}\n"
    text = own.read_text(encoding="utf-8", errors="surrogateescape") if own.is_file() else ""
    if line in text:
        return []
    with own.open("a", encoding="utf-8") as file:
        file.write(line if text.endswith("\n") or not text else f"\n{line}")
    return [own]


ABOUT = """\
The Tab key then completes commands, options, sweeps and stages of the store, files, and of a launch the groups of conf/
with their choices and every key with the values that it may have. Without --install the code is printed, for this shell
alone: eval "$(sft-sweeps completion bash)", or in fish: sft-sweeps completion fish | source.

Installed, it is a file of its own: of fish where fish looks for it, of bash and zsh one that a line in ~/.bashrc or
~/.zshrc reads."""
COMMAND = Command(
    "completion",
    "complete command lines with the Tab key: bash, zsh, fish",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps completion bash  # print the code", "sft-sweeps completion zsh --json"),
    topic="start",
)
