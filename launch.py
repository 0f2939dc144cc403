"""Compose a sweep from `conf/` and run it:  python launch.py -m model=llama13b data.fraction=1,1/4,1/16 action=plan"""

import sys

import hydra

from sft_sweeps.config.grid import Point
from sft_sweeps.config.schema import register
from sft_sweeps.launch import run

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(points: list[Point]) -> None:
    """Called once, with every point of the sweep (hydra_plugins/sft_sweeps_sweeper)."""
    if not isinstance(points, list):
        print(
            "error hydra.mode and hydra/sweeper cannot be set: they belong to launch.py; leave them out",
            file=sys.stderr,
        )
        sys.exit(2)
    sys.exit(run.run(points))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted before anything was started")
