"""A data format of another distribution: a row is one text, with a bar between what is asked and what is answered."""

from sft_sweeps.data.formats import Format, Pair, Row


def barred(row: Row) -> Pair:
    """Of `{"text": "2 + 2 | 4"}`."""
    prompt, _, response = str(row["text"]).partition(" | ")
    return Pair(prompt, response)


BARRED = Format(frozenset({"text"}), barred)
