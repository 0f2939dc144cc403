"""Keys that end in a name of the user's own: of a source or an ability, of a column or a speaker of a file.

No file of conf/ need have such a key, and Hydra sets none that is not there unless it is typed with `++`, which adds it
or sets the one that is there. So `++` is put before these keys where Hydra reads them, and shown nowhere.
"""

import re

OF_SOURCES = ("fractions", "repeat", "weight")  # keys of `data` behind which a source or an ability stands
OF_FILES = ("roles", "columns")  # keys of a source behind which stands what its file has
KEY = re.compile(rf"data\.(?:(?:{'|'.join(OF_SOURCES)})\.[\w-]+=|sources\.[\w-]+\.(?:{'|'.join(OF_FILES)})[.=])")
ADDED = "++"


def is_own(override: str) -> bool:
    """Whether an override, or the key of one, ends in a name of the user's own."""
    return KEY.match(override if "=" in override else f"{override}=") is not None


def addable(override: str) -> str:
    """The override as Hydra takes it."""
    return ADDED + override if is_own(override) else override


def as_typed(override: str) -> str:
    """What `addable` was given, or the key of it."""
    bare = override.removeprefix(ADDED)
    return bare if is_own(bare) else override
