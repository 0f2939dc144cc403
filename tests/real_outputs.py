"""What every command prints with `--json`, of one small store that is made once: real outputs, for test_json.py.

A new command adds its lines to `LINES`; one whose JSON cannot be had here says why in `ELSEWHERE`.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common import composed
from fuzzing import told
from hydra.core.global_hydra import GlobalHydra
from made_sweeps import made

from sft_sweeps.commands import main
from sft_sweeps.launch.points import planned
from sft_sweeps.plan.build import Plan
from sft_sweeps.spec.evaluation import Score
from sft_sweeps.store.paths import worker_log
from sft_sweeps.store.store import Store
from sft_sweeps.tracking.metrics import HELDOUT_LOSS, METRICS

LINES: Mapping[str, tuple[str, ...]] = {
    "audit": ("audit --paper",),
    "cancel": ("cancel made",),
    "completion": ("completion bash",),
    "dashboard": ("dashboard made --out views",),
    "doctor": ("doctor store",),
    "du": ("du",),
    "export": ("export made --out made.tar.zst", "export small --out small.tar.zst"),
    "gc": ("gc --older-than 0 --retention scores", "gc --yes"),
    "help": ("help", "help du"),
    "import": ("import made.tar.zst --output-dir there", "import made.tar.zst --dry-run"),
    "init": ("init mine",),
    "judge": ("judge made --dry-run",),
    "launch": (
        "launch action=plan plan.measure=false model=mini data=mini_math train=mini cluster=local",
        "launch action=plan model=llama7b data=math cluster=slurm plan.gpus=8 plan.deadline=2d",
    ),
    "list": ("list --size", "list"),
    "logs": ("logs {stage} --kind train",),
    "next": ("next small",),
    "predict": ("predict small",),
    "report": ("report made --out there",),
    "score": ("score gsm8k answers.jsonl --out out.json --partial",),
    "show": ("show {stage}",),
    "source": ("source add untidy.jsonl --dry-run --max-bad-fraction 0.5",),
    "status": ("status small", "status made"),
    "tokenizer": ("tokenizer rows.jsonl --vocab-size 300 --rows 5 --out words",),
}
ELSEWHERE = {
    "gguf": "says what it wrote as `tokenizer` does",
    "merge": "needs real weights: tests/commands/test_merge.py",
    "publish": "needs real weights: tests/commands/test_publish.py",
    "sync": "needs a server: tests/commands/test_sync.py",
    "tag": "says what it wrote as `tokenizer` does",
}
GRID = ("model=mini", "train=mini", "cluster=local", "tracking=none")


def _right(plan: Plan, missing: str) -> Any:
    """More answers are right, the more a stage has learnt of; none where the sweep is to lack scores."""
    steps = {stage.id: stage.steps for stage in plan.stages}

    def right(one: Score) -> list[bool]:
        number = steps.get(one.generation.subject.id, 0)
        return [] if missing and number == max(steps.values()) else [n < 4 * number**0.5 for n in range(120)]

    return right


def _files(folder: Path, stage: Path) -> None:
    rows = [{"question": f"How much is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(9)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    untidy = [*({**row, "mood": "calm"} for row in rows), {"question": "Why?", "answer": ""}]
    (folder / "untidy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in untidy))
    answers = [{"id": n, "completion": f"#### {n}", "gold": str(n)} for n in range(4)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    log = worker_log(stage, "train", 0)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("step 1\nstep 2\n")
    metrics = stage / METRICS
    *before, last = metrics.read_text().splitlines() if metrics.is_file() else [json.dumps({"step": 1})]
    held_out = json.dumps(json.loads(last) | {HELDOUT_LOSS: {"mini_math": 0.5}})
    metrics.write_text("".join(f"{line}\n" for line in (*before, held_out)))


def store(folder: Path) -> dict[str, str]:
    """Two sweeps in the folder's store, and files beside it; the names that lines of commands use."""
    root = folder / "multirun_outputs"
    scaling = planned(composed(*GRID, "data=mini_math", "data.fraction=1/256,1/64,1/16,1/4,1", "strategy=multi_task"))
    made(root, scaling, _right(scaling, "the largest"), "small")
    arms = planned(composed(*GRID, "data=mini", "data.fraction=1/64", "strategy=multi_task,dmt", "strategy.k=1/4"))
    made(root, arms, _right(arms, ""), "made")
    stage = arms.stages[0]
    _files(folder, Store(root).folder(stage))
    return {"stage": stage.id}


def outputs(folder: Path) -> Iterator[tuple[str, Any]]:
    """Each command's name with a JSON output; AssertionError where a line fails or prints something besides."""
    names = store(folder)
    yield from ((name, json.loads(text)) for name, text in _run(folder, names, LINES, "--json"))


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Each command's name with what it prints into a pipe; of those that take no time and print text of their own."""
    quick = {name: lines for name, lines in LINES.items() if name not in ("report", "audit", "logs")}
    yield from _run(folder, store(folder), quick)


def _run(
    folder: Path, names: Mapping[str, str], lines: Mapping[str, tuple[str, ...]], *more: str
) -> Iterator[tuple[str, str]]:
    with contextlib.chdir(folder):
        for name, line in ((name, line) for name, some in lines.items() for line in some):
            GlobalHydra.instance().clear()
            words = [*line.format(**names).split(), *more]
            given = told(lambda words=words: main.main(words))
            assert given.status == 0, (line, given)
            yield name, given.out
