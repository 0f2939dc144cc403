"""lm-evaluation-harness on recorded GSM8K answers: the filters and the metric of its own task file `gsm8k.yaml`."""

import gzip
import json
import time
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from bench.peers import environments
from bench.peers.peer import DATA, Found, Peer, Row, Settings, in_turn, row, verdicts
from sft_sweeps.benchmarks import gsm8k

ANSWERS = DATA / "oracles" / "gsm8k_scorer.jsonl.gz"
TEST = DATA / "benchmarks" / "gsm8k_test.jsonl.gz"
RULES = {"strict-match": gsm8k.lm_eval_strict, "flexible-extract": gsm8k.lm_eval_flexible}


def recorded(first: int | None = None) -> list[dict[str, Any]]:
    """Answers of real models, each with the test's `question` and `answer`, of which lm-eval takes the gold number."""
    with gzip.open(TEST, "rt", encoding="utf-8") as file:
        test = [json.loads(line) for line in file]
    with gzip.open(ANSWERS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [{**row, **test[row["test_index"]]} for row in rows[:first]]


def ours(first: int | None = None) -> Found:
    rows = recorded(first)
    started = time.process_time()
    said = {rule: {row["id"]: right(row["output"], row["gold"]) for row in rows} for rule, right in RULES.items()}
    return {"cpu": time.process_time() - started, "said": said}


def theirs(first: int | None = None) -> Found:
    import yaml
    from lm_eval.api.instance import Instance
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.filters import build_filter_ensemble

    task = yaml.safe_load((files("lm_eval") / "tasks" / "gsm8k" / "gsm8k.yaml").read_text())
    metric = {key: task["metric_list"][0][key] for key in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
    rows = recorded(first)
    started = time.process_time()
    asked = [Instance("generate_until", row, (), n, resps=[row["output"]]) for n, row in enumerate(rows)]
    said = {}
    for entry in task["filter_list"]:
        steps = [(step["function"], {k: v for k, v in step.items() if k != "function"}) for step in entry["filter"]]
        name = entry["name"]
        build_filter_ensemble(name, steps).apply(asked)
        pairs = (([one.filtered_resps[name]], [one.doc["answer"]]) for one in asked)
        found = [exact_match_fn(predictions=given, references=gold, **metric)["exact_match"] for given, gold in pairs]
        said[name] = {row["id"]: bool(right) for row, right in zip(rows, found, strict=True)}
    return {"cpu": time.process_time() - started, "said": said, "version": task["metadata"]["version"]}


def compare(settings: Settings) -> Iterator[Row]:
    mine, others = in_turn("lm_eval", settings.rounds)
    answers = {one["id"]: one for one in recorded()}
    speed = [one["cpu"] for one in mine], [one["cpu"] for one in others]
    yield row(f"{len(answers):,} GSM8K answers by two rules", "CPU s", "less", speed)
    for rule in RULES:

        def why(name: str) -> Found:
            return {"gold": answers[name]["gold"], "end": answers[name]["output"][-200:]}

        yield verdicts(f"{len(answers):,} GSM8K answers, {rule}", mine[0]["said"][rule], others[0]["said"][rule], why)


def lacks() -> str:
    missing = [path.name for path in (ANSWERS, TEST) if not path.is_file()]
    return f"no {', '.join(missing)} in {DATA}" if missing else environments.lacks("lm_eval")


PEER = Peer(
    name="lm_eval",
    title="lm-eval",
    package="lm_eval",
    runs="the filters and the metric of its `gsm8k.yaml` on the same recorded answers",
    compare=compare,
    lacks=lacks,
)
