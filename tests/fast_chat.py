"""A whole MT-Bench in FastChat's layout, made up, and the command that scores it."""

import json
from pathlib import Path

from sft_sweeps.benchmarks.mt_bench_grading import TEMPERATURES, prompt_name

PROMPTS = [prompt_name(turn, referenced) for turn in (1, 2) for referenced in (False, True)]


def fast_chat(folder: Path, questions: int = 80) -> dict[str, Path]:
    """A whole MT-Bench in FastChat's layout, made up."""
    categories = list(TEMPERATURES)
    rows = [{"question_id": 81 + n, "category": categories[n // 10], "turns": ["a", "b"]} for n in range(80)]
    files = {
        "questions": rows,
        "prompts": [
            {"name": name, "type": "single", "system_prompt": "s", "prompt_template": f"{name} {{answer_1}}{{answer}}"}
            for name in PROMPTS
        ],
        "references": [{"question_id": r["question_id"], "choices": [{"turns": ["x", "y"]}]} for r in rows],
        "answers": [
            {"question_id": r["question_id"], "model_id": "m", "choices": [{"index": 0, "turns": [f"A{n}", "B"]}]}
            for n, r in enumerate(rows[:questions])
        ],
    }
    paths = {}
    for name, content in files.items():
        paths[name] = folder / f"{name}.jsonl"
        paths[name].write_text("".join(json.dumps(row) + "\n" for row in content))
    return paths


def command(paths: dict[str, Path], out: Path, *more: str) -> list[str]:
    given = [word for key in ("questions", "prompts", "references") for word in (f"--{key}", str(paths[key]))]
    return ["score", "mt_bench", str(paths["answers"]), "--out", str(out), *given, *more]
