"""A program as Hydra has them, which composes this project's configuration and does nothing with it.

python -m bench.peers.noop -m hydra/sweeper=basic model=mini,smollm2_135m
"""

from typing import Any

import hydra

from bench.peers.peer import ROOT
from sft_sweeps.config.schema import register


def nothing(_: Any) -> None:
    """The task of every point."""


if __name__ == "__main__":
    register()
    hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="config")(nothing)()
