"""`sft-sweeps launch`: what `python launch.py` does in a checkout, from any folder; Hydra reads its arguments."""

import argparse
import textwrap

from sft_sweeps.commands import manual
from sft_sweeps.commands.command import Command, add_json, add_output_dir


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """For the manual page and completion: Hydra reads the arguments."""
    typed = "KEY=VALUE, or GROUP=CHOICE; a comma sweeps: model=llama7b,llama13b"
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=typed)
    parser.add_argument("-m", "--multirun", action="store_true", help="as Hydra's users type it; no -m does the same")
    parser.add_argument("-cd", "--config-dir", metavar="DIR", help="files of yours, which are found before conf/ here")
    parser.add_argument("-c", "--cfg", metavar="job|hydra|all", help="print the configuration and do nothing else")
    parser.add_argument("--until-done", action="store_true", help="launch again whatever fails or is cut off")
    parser.add_argument("--hydra-help", action="store_true", help="Hydra's other options")
    add_output_dir(parser)
    add_json(parser)
    parser.description = f"{parser.description}\n\n{_groups()}"


def _groups() -> str:
    """Each group of conf/ with its choices."""
    from sft_sweeps.config import choices, site

    found = choices.groups(site.conf_folders())
    found.pop("local", None)
    width = max(map(len, found), default=0)
    lines = [_group(name, ", ".join(found[name]), width) for name in found]
    return "Groups and their choices:\n" + "\n".join(lines)


def _group(name: str, listed: str, width: int) -> str:
    indent = " " * (4 + width + 2)
    return textwrap.fill(f"    {name:<{width}}  {listed}", manual.width(), subsequent_indent=indent)


def _run(options: argparse.Namespace) -> int:
    from sft_sweeps.config import command_line
    from sft_sweeps.launch import run

    return command_line.main(run.run, options.arguments, "sft-sweeps launch")


ABOUT = """\
A launch composes the points of a sweep from conf/, plans them as training stages that runs share, and runs what is
missing: on this machine, or as arrays on Slurm, where it returns at once. Launched again, it runs only what is missing.

action=plan says what would run and what it would cost, and submits nothing; action=prepare fetches and encodes the
data; action=inspect shows what a model would be given.

A file is looked for in --config-dir, then in conf/ of the working folder, then in the package's own conf/.
conf/local/default.yaml holds your site's settings, for every launch; debug=few_steps and the like look into a run."""
COMMAND = Command(
    "launch",
    "plan a sweep, or run it: the same as python launch.py in a checkout",
    _run,
    _add_arguments,
    about=ABOUT,
    examples=(
        "sft-sweeps launch study=quickstart  # the whole path in miniature, on this machine",
        "sft-sweeps launch study=table1 action=plan  # what would it cost? submits nothing",
        "sft-sweeps launch -m model=llama13b data.fraction=1,1/4,1/16 action=plan",
        "sft-sweeps launch study=quickstart debug=few_steps  # the path in a few steps",
        "sft-sweeps launch model=mini data=mini train=mini --cfg job  # every key with its value",
    ),
    topic="start",
    reads_itself=True,
)
