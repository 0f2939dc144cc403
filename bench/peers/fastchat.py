"""FastChat's `preprocess`, with which Vicuna and the paper's models were trained: one conversation a call, as it is
called where data is not all encoded at start (`--lazy_preprocess True`)."""

import time
from collections.abc import Iterator
from typing import Any

from bench import encode_speed
from bench.peers import encoding, environments
from bench.peers.encoding import ours
from bench.peers.peer import Found, Peer, Row, Settings

__all__ = ["PEER", "ours", "theirs"]


def theirs(rows: int, sharegpt: str | None = None) -> Found:
    from fastchat.train import train

    train.local_rank = 1  # it prints on rank 0 what it masks
    tokenizer = encode_speed.tokenizer_of(encoding.TOKENIZER, model_max_length=encode_speed.LENGTH)
    tokenizer.legacy = True  # as that of LLaMA of 2023, by which the paper's models were trained
    return {source.name: _source(source, rows, train.preprocess, tokenizer) for source in encoding.sources(sharegpt)}


def _source(source: Any, rows: int, preprocess: Any, tokenizer: Any) -> Found:
    examples = encoding.examples(source, rows)
    given = [_conversation(example.messages) for example in examples]
    preprocess(given[:1], tokenizer)  # what is loaded once
    started = time.process_time()
    made = [preprocess([conversation], tokenizer) for conversation in given]
    seconds = time.process_time() - started
    return encoding.said(source, examples, [_plain(one) for one in made], seconds)


def _conversation(messages: list[str]) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(messages)]


def _plain(made: Any) -> tuple[list[int], list[int]]:
    """Without the padding: ids, and the places that are learnt."""
    ids, labels, mask = (made[key][0] for key in ("input_ids", "labels", "attention_mask"))
    learnt = [place for place, label in enumerate(labels.tolist()) if label != encode_speed.IGNORED]
    return ids[: int(mask.sum())].tolist(), learnt


def compare(settings: Settings) -> Iterator[Row]:
    yield encoding.compare("fastchat", settings)


PEER = Peer(
    name="fastchat",
    title="FastChat",
    package="fschat",
    runs="`fastchat.train.train.preprocess` on evenly spread rows; ours from cold over whole files to the shelf",
    compare=compare,
    lacks=lambda: encoding.lacks() or environments.lacks("fastchat"),
)
