"""What a site's `conf/local/default.yaml` says to the commands that compose no sweep: its store, its cluster.

OmegaConf is loaded only where there is such a file, the schema only where a cluster is asked for: every command of
`sft-sweeps` waits for this module.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sft_sweeps import PACKAGE
from sft_sweeps.config import choices

if TYPE_CHECKING:
    from sft_sweeps.config.cluster_schema import ClusterConfig

# In a wheel conf/ lies in the package (setup.py), in a checkout beside it.
CONF = next((folder for folder in (PACKAGE / "conf", PACKAGE.parent / "conf") if folder.is_dir()), PACKAGE / "conf")
STORE = "multirun_outputs"


def local_file() -> Path | None:
    """The file that a launch from this folder would use: of the working folder's conf/, or else of this project's."""
    files = (folder / "local" / "default.yaml" for folder in (Path("conf"), CONF))
    return next((file for file in files if file.is_file()), None)


def conf_folders() -> list[Path]:
    """Where a launch from this folder looks for files of conf/, first to last."""
    return [*choices.user_folders(None, CONF), CONF]


def output_dir() -> str:
    """The store of a launch from this folder on which none is typed."""
    return str(_value("output_dir") or STORE)


def store_option(root: Path | str) -> list[str]:
    """What is typed behind a command so that it means the store at `root`; nothing where it does by itself."""
    same = Path(root).absolute() == Path(output_dir()).absolute()
    return [] if same else ["--output-dir", str(root)]


def command(root: Path | str, *words: str) -> str:
    """`sft-sweeps WORDS`, as it is typed so that it means the store at `root`."""
    return shlex.join(["sft-sweeps", *words, *store_option(root)])


def cluster() -> "ClusterConfig":
    """What a launch from this folder uses of a Slurm cluster where nothing is typed."""
    from sft_sweeps.config.cluster_schema import ClusterConfig

    settings = _value("cluster")
    if not settings:
        return ClusterConfig(name="slurm")
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    schema = OmegaConf.structured(ClusterConfig(name="slurm"))
    try:
        merged: Any = OmegaConf.to_object(OmegaConf.merge(schema, settings))
    except OmegaConfBaseException:  # a launch says what is wrong with it
        return ClusterConfig(name="slurm")
    return merged if isinstance(merged, ClusterConfig) else ClusterConfig(name="slurm")


def _value(key: str) -> Any:
    """Of the local file; None where there is none, or it cannot be read: a launch says what is wrong with it."""
    file = local_file()
    if file is None:
        return None
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from sft_sweeps.config import environment  # it loads OmegaConf

    environment.restrict()
    try:
        return OmegaConf.select(OmegaConf.load(file), key)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):
        return None
