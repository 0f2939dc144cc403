"""Licences of base model and data, and what the hub can be told of them.

Which licence a trained model has is for who publishes it to decide. The card names one where everything that the model
was made of has that one; else it lists them and says `other`, or `unknown` where one of them is not known.
"""

from collections.abc import Sequence

UNKNOWN = "unknown"
# The identifiers of the hub's list that base models and data sets for language models carry; others are named in words.
ON_HUB = frozenset(
    (
        *("apache-2.0", "mit", "openrail", "cc0-1.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
        *("cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "odc-by", "odbl", "gpl-3.0"),
        *("lgpl-3.0", "agpl-3.0", "bsd-3-clause", "llama2", "llama3", "llama3.1", "llama3.2"),
        *("llama3.3", "gemma", "other", "unknown"),
    )
)


def shown(licence: str) -> str:
    """A licence as the card says it."""
    return licence or UNKNOWN


def together(licences: Sequence[str]) -> str:
    """One for all of them, `other` for several, `unknown` where one is not known."""
    if not all(licences):
        return UNKNOWN
    return licences[0] if len(set(licences)) == 1 else "other"


def header(licences: Sequence[str]) -> dict[str, str]:
    """What the card's header says: `license`, and for what is not in the hub's list its name."""
    licence = together(licences)
    if licence in ON_HUB:
        names = {"license_name": "see-card"} if licence == "other" else {}
        return {"license": licence, **names}
    return {"license": "other", "license_name": licence}
