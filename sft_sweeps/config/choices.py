"""Which files of conf/ there are to choose from. Their names alone are looked at, so it takes no time."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

CONFIG_DIR = ("--config-dir", "-cd")


def groups(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Each group of some conf/ folders with its choices."""
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(choices) for group, choices in found.items()}


def user_folders(config_dir: str | None, conf: Path) -> list[Path]:
    """The folders that are searched before `conf`, first to last; one that is absent is Hydra's to complain about."""
    folders = [Path(config_dir)] if config_dir else []
    folders.append(Path("conf"))
    return [folder.resolve() for folder in folders if folder.is_dir() and not (conf.is_dir() and folder.samefile(conf))]


def typed_config_dir(arguments: Sequence[str]) -> str | None:
    """What `--config-dir` is given on a command line that may be incomplete."""
    for number, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in CONFIG_DIR:
            return value if equals else next(iter(arguments[number + 1 :]), None)
    return None


def no_name(override: "Override") -> str:
    """What is wrong with a list of a group's choices of which one is no name (Hydra would raise TypeError), or ""."""
    value = override.value()
    odd = next((one for one in value if not isinstance(one, str)), None) if isinstance(value, list) else None
    if odd is None:
        return ""
    return f"{override.input_line}: {odd!r} names no file of {override.key_or_group}; type a name"
