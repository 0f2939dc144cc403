"""`sft-sweeps init`: a folder to start from, with a study, a place for the cluster's settings, and the commands."""

import argparse
from pathlib import Path

from sft_sweeps.commands.command import Command, add_json, print_json
from sft_sweeps.errors import RequestError

SCHEMA = 1
STUDY = """\
# @package _global_
# A study is a question and its grids. This one runs on a small machine in minutes: model, data, recipe and evaluation
# are the miniature ones. For Llama on a cluster leave out the lines under `defaults`.
defaults:
  - override /model: mini
  - override /data: mini
  - override /train: mini
  - override /evaluate: mini
  - override /cluster: local
  - override /tracking: none
study:
  name: mine
  question: How much of math and code does a model keep when the share of them in its second stage grows?
  grid:                       # lines as one would type them; a comma sweeps
    - strategy=dmt strategy.k=1/16,1/4
"""
README = """\
# {name}

`conf/study/mine.yaml` holds a question and its grid. Change both, then, in this folder:

    sft-sweeps launch study=mine action=plan    # what would run, and what it would cost; submits nothing
    sft-sweeps launch study=mine                # runs it; launched again, it runs only what is missing
    sft-sweeps report                           # the table of scores

`conf/local/default.yaml` holds your cluster's settings, for every launch. `sft-sweeps launch --help` lists the choices
of each group; a file of yours under `conf/` with the same name is taken in place of the installed one.
"""
LOCAL = """\
# @package _global_
# Your cluster's settings, for every launch from this folder: remove the # before what you need. What you type on the
# command line wins over this file, and so does a study.
"""
IGNORED = "conf/local/\nmultirun_outputs/\n"


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new, or empty")
    add_json(parser)


def _run(options: argparse.Namespace) -> int:
    folder: Path = options.folder
    written: list[Path] = []
    try:
        if folder.exists() and any(folder.iterdir()):
            raise RequestError(f"{folder} is not empty; name a new or an empty folder: sft-sweeps init FOLDER")
        for name, text in _files(folder).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise RequestError(
            f"{folder} cannot be written ({error.strerror}); name another: sft-sweeps init FOLDER"
        ) from error
    following = f"cd {folder} && sft-sweeps launch study=mine action=plan"
    if options.json:
        print_json(SCHEMA, {"written": list(map(str, written)), "next": following})
    else:
        print(*(f"written: {path}" for path in written), f"next: {following}", sep="\n")
    return 0


def _files(folder: Path) -> dict[str, str]:
    return {
        "README.md": README.format(name=folder.resolve().name),
        ".gitignore": IGNORED,
        "conf/study/mine.yaml": STUDY,
        "conf/local/default.yaml": LOCAL + _commented_example(),
    }


def _commented_example() -> str:
    """The settings of conf/local/default.yaml.example, every line of them a comment."""
    from sft_sweeps.config.site import CONF

    lines = (CONF / "local" / "default.yaml.example").read_text(encoding="utf-8").splitlines()
    return "".join(f"# {line}\n" for line in lines if not line.startswith("#"))


ABOUT = """\
The folder has a study of its own in conf/study/mine.yaml, a commented conf/local/default.yaml for your cluster, and a
README with the next commands. Nothing that is there already is changed."""
COMMAND = Command(
    "init",
    "make a folder to start from: a study, a file for your cluster, a README",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=("sft-sweeps init my_study",),
    topic="start",
)
