"""Messages as a report has them, which is read elsewhere than where it was made."""

from pathlib import Path

from sft_sweeps.store.store import Store


def without_folders(said: str, store: Store) -> str:
    """What is said of files in a store, with their paths from where it begins."""
    roots = {str(path) for root in store.roots for path in (root, root.absolute()) if root != Path()}
    for root in sorted(roots, key=len, reverse=True):
        said = said.replace(f"{root}/", "")
    return said
