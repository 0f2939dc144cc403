"""What the peers that encode have in common: sources from their files, ours whole, theirs on evenly spread rows."""

from pathlib import Path
from typing import Any

from bench import encode_speed
from bench.peers.peer import DATA, Found, Row, Settings, in_turn, row
from sft_sweeps.data.example import Example
from sft_sweeps.spec.data import Source

Made = list[tuple[list[int], list[int]]]  # ids of each row, and the places that are learnt
TOKENIZER = DATA / "llama_tokenizer"
UNIT = "tokens a CPU second"


def lacks() -> str:
    return "" if encode_speed.available() else f"no GSM8K, Code Alpaca and tokenizer in {DATA}"


def ours(sharegpt: str | None = None, **_: Any) -> Found:
    """Every source cold, from its file to the shelf: its tokens and CPU seconds."""
    found = {source.name: encode_speed.ours(source, TOKENIZER) for source in sources(sharegpt)}
    return {name: {"tokens": one["tokens"], "cpu": one["cpu"]} for name, one in found.items()}


def sources(sharegpt: str | None) -> list[Source]:
    return list(encode_speed.sources(DATA / "train", Path(sharegpt) if sharegpt else None))


def examples(source: Source, rows: int) -> list[Example]:
    return encode_speed.spread(source, rows)


def said(source: Source, given: list[Example], made: Made, seconds: float) -> Found:
    """A source as the other program encoded it: its speed, and the rows of which ours are the same."""
    same = round(encode_speed.agree(source, TOKENIZER, given, made) * len(given))
    return {"speed": sum(len(ids) for ids, _ in made) / seconds, "rows": len(given), "same": same}


def compare(peer: str, settings: Settings) -> Row:
    """Tokens a CPU second over all sources, each weighing what it has; theirs is measured on some of the rows."""
    ours, theirs = in_turn(peer, settings.rounds, rows=settings.rows, sharegpt=settings.sharegpt)
    names = ", ".join({"gsm8k": "GSM8K", "code_alpaca": "Code Alpaca", "sharegpt": "ShareGPT"}[n] for n in ours[0])
    speeds = [_speed(one) for one in ours], [_their_speed(one, other) for one, other in zip(ours, theirs, strict=True)]
    agreed = theirs[0].values()
    same = f"same ids and masks: {sum(one['same'] for one in agreed):,} of {sum(one['rows'] for one in agreed):,}"
    return row(f"encode {names} from their files", UNIT, "more", speeds, note=same)


def _speed(ours: Found) -> float:
    return float(sum(one["tokens"] for one in ours.values()) / sum(one["cpu"] for one in ours.values()))


def _their_speed(ours: Found, theirs: Found) -> float:
    """Of all that ours encoded, by theirs of each source."""
    seconds = sum(one["tokens"] / theirs[name]["speed"] for name, one in ours.items())
    return float(sum(one["tokens"] for one in ours.values()) / seconds)
