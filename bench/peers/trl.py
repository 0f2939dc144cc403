"""TRL's SFTTrainer: what it makes of conversations before it trains, and its training steps, padded and without."""

import importlib.util
from collections.abc import Iterator

from bench import encode_speed, trl_speed
from bench.peers import encoding, training
from bench.peers.encoding import ours
from bench.peers.peer import Found, Peer, Row, Settings

__all__ = ["PEER", "ours", "theirs"]
WAYS = {
    "padded, as it comes": trl_speed.WAYS["padded"],
    "padding-free": trl_speed.WAYS["padding_free"],
}


def theirs(rows: int, sharegpt: str | None = None) -> Found:
    """`SFTTrainer._prepare_dataset` from a file of rows to what training reads."""
    tokenizer = encode_speed.tokenizer_of(encoding.TOKENIZER)
    way, found = encode_speed.trl_way(tokenizer), {}
    for source in encoding.sources(sharegpt):
        # It leaves out a row of which nothing is learnt.
        examples = [example for example in encoding.examples(source, rows) if way(example)[1]]
        speed, _, made = encode_speed.trl_itself(tokenizer, examples)
        seconds = sum(len(ids) for ids, _ in made) / speed
        found[source.name] = encoding.said(source, examples, made, seconds)
    return found


def lacks() -> str:
    return "" if importlib.util.find_spec("trl") else "TRL is not installed: make install"


def compare(settings: Settings) -> Iterator[Row]:
    if not encoding.lacks():
        yield encoding.compare("trl", settings)
    yield from training.compare(WAYS, settings)


PEER = Peer(
    name="trl",
    title="TRL",
    package="trl",
    runs="`SFTTrainer`: its own preparation of rows, then steps of 16 examples in fp32 without recomputation",
    compare=compare,
    lacks=lacks,
)
