"""How fast real sources become token ids and masks, against FastChat's way and TRL's, in one run on one process.

Ours is measured from cold over whole files: read, cleaned, encoded, written. The others are restated here on the same
tokenizer through transformers (FastChat 0.2.30's `preprocess`: three calls of the tokenizer a turn, padded; TRL 1.16:
the chat template with `{% generation %}` and its assistant mask) and measured on evenly spread rows, since they take
minutes; tokens a second are compared, in CPU time, since a loaded machine slows wall time as it likes. Ids and masks of
those rows are compared too. Where TRL is installed, its own preparation is measured beside, as ours from a file to what
training reads; it takes no example of which nothing is learnt.

    python -m bench.encode_speed --data FOLDER --tokenizer FOLDER [--sharegpt FILE] [--rows 300] [--json]
"""

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from sft_sweeps.data.encode import encoder as encoder_module
from sft_sweeps.data.encode import prepare
from sft_sweeps.data.encode.encoded_source import opened
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.data.encode.text_encoder import PlainEncoder
from sft_sweeps.data.example import Example
from sft_sweeps.data.read import stream
from sft_sweeps.data.row_filter import RowFilter
from sft_sweeps.data.template import find
from sft_sweeps.files.content import content_pin
from sft_sweeps.spec.data import Source

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"
FILES = {"gsm8k": "gsm8k_train.jsonl.gz", "code_alpaca": "code_alpaca_20k.jsonl.gz"}
TEMPLATE, LENGTH = "vicuna_v1.1", 2048
IGNORED = -100
Ids = list[int]
Way = Callable[[Example], tuple[Ids, Ids]]  # ids, and the places that are learnt


def available(data: Path = SHARED / "train", tokenizer: Path = SHARED / "llama_tokenizer") -> bool:
    """Whether there is something to measure with."""
    return tokenizer.is_dir() and all((data / name).is_file() for name in FILES.values())


def sources(data: Path, sharegpt: Path | None) -> Iterator[Source]:
    """The sources that are there."""
    paths = {name: data / file for name, file in FILES.items()} | ({"sharegpt": sharegpt} if sharegpt else {})
    for name, path in paths.items():
        content, rows = content_pin(path)
        yield Source(name, content, "auto", name, "general", rows, "counted", str(path), max_bad_fraction=0.1)


def fastchat_way(tokenizer: Any) -> Way:
    """FastChat's `preprocess` of one conversation."""
    template = find(TEMPLATE)
    boundary = template.after + template.separator

    def encode(example: Example) -> tuple[Ids, Ids]:
        text = template.system
        for prompt, response in example.rounds:
            text += f"{template.before}{prompt}{boundary}{response}</s>"
        padded = {"padding": "max_length", "max_length": LENGTH, "truncation": True, "return_tensors": "pt"}
        ids = tokenizer([text], **padded).input_ids[0]
        labels = ids.clone()
        total, reached = int(ids.ne(tokenizer.pad_token_id).sum()), 1
        labels[:1] = IGNORED
        for turn in text.split("</s>"):
            parts = turn.split(boundary)
            if not turn or len(parts) != 2:
                break
            length = len(tokenizer(turn).input_ids)
            given = len(tokenizer(parts[0] + boundary).input_ids) - 2
            labels[reached : reached + given] = IGNORED
            reached += length
        labels[reached:] = IGNORED
        if reached < LENGTH and reached != total:
            labels[:] = IGNORED
        return ids[:total].tolist(), [place for place, label in enumerate(labels.tolist()) if label != IGNORED]

    return encode


JINJA = (
    "{{{{ bos_token }}}}{{{{ '{system}' }}}}{{% for message in messages %}}{{% if message['role'] == 'user' %}}"
    "{{{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}}}{{% else %}}"
    "{{% generation %}}{{{{ ' ' + message['content'] + eos_token }}}}{{% endgeneration %}}{{% endif %}}{{% endfor %}}"
)


def trl_way(tokenizer: Any) -> Way:
    """TRL's preparation of one conversation with `assistant_only_loss`."""
    tokenizer.chat_template = JINJA.format(system=find(TEMPLATE).system.replace("'", "\\'"))

    def encode(example: Example) -> tuple[Ids, Ids]:
        made = tokenizer.apply_chat_template(messages(example), return_dict=True, return_assistant_tokens_mask=True)
        learnt = [place for place, flag in enumerate(made["assistant_masks"][:LENGTH]) if flag]
        return made["input_ids"][:LENGTH], learnt

    return encode


def trl_itself(tokenizer: Any, examples: list[Example]) -> tuple[float, float, list[tuple[Ids, Ids]]]:
    """What TRL's own trainer does of a file before it trains: (tokens a second, rows a second, what came out)."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import datasets
    from trl import SFTConfig, SFTTrainer

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        file.write_text("".join(json.dumps({"messages": messages(example)}) + "\n" for example in examples))
        given = {"assistant_only_loss": True, "max_length": LENGTH, "use_cpu": True, "bf16": False, "report_to": "none"}
        settings: Any = SFTConfig(output_dir=folder, **given)
        trainer: Any = SimpleNamespace(_tokenizer=tokenizer, chat_template=tokenizer.chat_template, _is_vlm=False)
        trainer.completion_only_loss, trainer.assistant_only_loss = False, True
        started = time.process_time()
        rows: Any = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=folder)
        rows = SFTTrainer._prepare_dataset(trainer, rows, tokenizer, settings, False, None, "train")
        seconds = time.process_time() - started
        made = [(row["input_ids"], [n for n, label in enumerate(row["labels"]) if label != IGNORED]) for row in rows]
    return sum(len(ids) for ids, _ in made) / seconds, len(examples) / seconds, made


def messages(example: Example) -> list[dict[str, str]]:
    """A conversation as TRL reads it."""
    roles = ("user", "assistant")
    return [{"role": roles[place % 2], "content": text} for place, text in enumerate(example.messages)]


def spread(source: Source, rows: int) -> list[Example]:
    """Examples of a source, evenly spread over it."""
    every = list(stream(Path(source.path), source, RowFilter()))
    return every[:: max(1, len(every) // rows)][:rows]


def timed(way: Way, examples: list[Example]) -> tuple[float, float, list[tuple[Ids, Ids]]]:
    """(tokens a second, rows a second, what came out)."""
    started = time.process_time()
    made = [way(example) for example in examples]
    seconds = time.process_time() - started
    return sum(len(ids) for ids, _ in made) / seconds, len(examples) / seconds, made


def cpu_seconds() -> float:
    """Of this process and of helpers that have ended."""
    return sum(os.times()[:4])


def ours(source: Source, tokenizer: Path, processes: int = 1) -> dict[str, float]:
    """A source from its file to the shelf, in an empty store."""
    with tempfile.TemporaryDirectory() as root:
        wish = prepare.encoded_key(source, tokenizer, TEMPLATE, LENGTH)
        started, cpu = time.perf_counter(), cpu_seconds()
        found = prepare.get(wish, tokenizer, [Path(root)], processes=processes)
        seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
        started = time.perf_counter()
        opened.cache_clear()
        reopened = prepare.get(wish, tokenizer, [Path(root)])
        again = [reopened.encoded(index) for index in reopened.order(0)]
        second = time.perf_counter() - started
        tokens, rows = float(found.offsets[-1]), float(found.account["rows"])
    return {
        "tokens": tokens,
        "rows": rows,
        "seconds": seconds,
        "cpu": cpu,
        "second_use": second,
        "n": float(len(again)),
    }


def without_cache(source: Source, tokenizer: Path) -> dict[str, float]:
    """The same with the tokenizer asked for every text: what the cache of token ids is worth."""
    with patch.object(encoder_module, "text_encoder", PlainEncoder):
        return ours(source, tokenizer)


def agree(source: Source, tokenizer: Path, examples: list[Example], made: list[tuple[Ids, Ids]]) -> float:
    """The share of the rows of which our ids and mask are the same."""
    faithful = replace(source, bug_compatible=True)
    encoder = Encoder(tokenizer, TEMPLATE, LENGTH, bug_compatible=faithful.bug_compatible)
    found = [(e.input_ids.tolist(), np.flatnonzero(e.supervised).tolist()) for e in encoder.encoded(examples)]
    return statistics.mean(mine == other for mine, other in zip(found, made, strict=True))


def tokenizer_of(folder: Path, **more: Any) -> Any:
    """Its tokenizer through the class of transformers that takes tokenizer.json as it is: others rebuild it."""
    from transformers import PreTrainedTokenizerFast

    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **names, **more)


def measure(data: Path, tokenizer_folder: Path, sharegpt: Path | None, rows: int) -> dict[str, Any]:
    """Everything, by source and in all."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = tokenizer_of(tokenizer_folder)
    ways = {"fastchat": fastchat_way(tokenizer), "trl": trl_way(tokenizer)}
    report: dict[str, Any] = {}
    totals: dict[str, float] = dict.fromkeys(
        ("tokens", "cpu", "seconds", "two", "two_cpu", "without_cache", "fastchat", "trl"), 0.0
    )
    for source in sources(data, sharegpt):
        entry: dict[str, Any] = ours(source, tokenizer_folder)
        two = ours(source, tokenizer_folder, 2)
        entry["two_processes_seconds"], entry["two_processes_cpu"] = two["seconds"], two["cpu"]
        totals["without_cache"] += without_cache(source, tokenizer_folder)["cpu"]
        examples = list(islice(spread(source, rows), rows))
        for name, way in ways.items():
            entry[name], entry[f"{name}_rows"], made = timed(way, examples)
            entry[f"{name}_agrees"] = agree(source, tokenizer_folder, examples, made)
            totals[name] += entry["tokens"] / entry[name]
        if importlib.util.find_spec("trl"):
            entry["trl_itself"], entry["trl_itself_rows"], theirs = trl_itself(tokenizer, examples)
            learnt = [both for both in made if both[1]]
            entry["trl_itself_agrees"] = statistics.mean(a == b for a, b in zip(learnt, theirs, strict=True))
            totals["trl_itself"] = totals.get("trl_itself", 0.0) + entry["tokens"] / entry["trl_itself"]
        for key in ("tokens", "cpu", "seconds"):
            totals[key] += entry[key]
        totals["two"] += entry["two_processes_seconds"]
        totals["two_cpu"] += entry["two_processes_cpu"]
        report[source.name] = entry
    return {
        "sources": report,
        "tokens_per_second": totals["tokens"] / totals["cpu"],
        "times_fastchat": totals["fastchat"] / totals["cpu"],
        "times_trl": totals["trl"] / totals["cpu"],
        "times_without_cache": totals["without_cache"] / totals["cpu"],
        **({"times_trl_itself": totals["trl_itself"] / totals["cpu"]} if "trl_itself" in totals else {}),
        "two_processes": totals["seconds"] / totals["two"],
        "two_processes_at_best": 2 * totals["cpu"] / totals["two_cpu"],
        "second_use": max(entry["second_use"] for entry in report.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "train")
    parser.add_argument("--tokenizer", type=Path, default=SHARED / "llama_tokenizer")
    parser.add_argument("--sharegpt", type=Path, help="ShareGPT as JSON lines or an array")
    parser.add_argument("--rows", type=int, default=300, help="rows of each source for the other ways")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args()
    found = measure(given.data, given.tokenizer, given.sharegpt, given.rows)
    if given.json:
        print(json.dumps(found))
        return
    for name, entry in found["sources"].items():
        speed = entry["tokens"] / entry["cpu"]
        print(f"{name:12s} {entry['rows']:8,.0f} rows {entry['tokens']:11,.0f} tokens: {entry['cpu']:.1f} CPU s")
        print(f"    {'ours':12s} {speed / 1e3:8,.0f}k tokens/s")
        for key, way in (("fastchat", "FastChat's"), ("trl", "TRL's"), ("trl_itself", "TRL itself")):
            if key in entry:
                print(f"    {way:12s} {entry[key] / 1e3:8,.0f}k tokens/s, equal {entry[f'{key}_agrees']:.1%}")
    times = [("FastChat's way", "times_fastchat"), ("TRL's", "times_trl"), ("TRL itself", "times_trl_itself")]
    print(
        f"all: {', '.join(f'{found[key]:.1f} x {way}' for way, key in times if key in found)}; "
        f"{found['times_without_cache']:.2f} x without the cache of token ids; two processes "
        f"{found['two_processes']:.2f} x one (wall), "
        f"{found['two_processes_at_best']:.2f} x by the CPU time of both; second use {found['second_use']:.2f} s"
    )


if __name__ == "__main__":
    main()
