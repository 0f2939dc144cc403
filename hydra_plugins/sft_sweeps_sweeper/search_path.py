"""Puts the user's configuration folders before this project's conf/ (sft_sweeps/config/command_line.py).

Hydra appends `--config-dir` behind the program's own folder, where it cannot replace a file of the same name.
"""

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from sft_sweeps.config import command_line


class SearchUserFolders(SearchPathPlugin):
    """Does nothing in other programs that use Hydra: they have no such folders."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Called by Hydra when the program's own folder (`main`) is known and nothing is read yet."""
        for folder in command_line.user_folders:
            search_path.prepend("user", f"file://{folder}", anchor="main")
