"""README and docs are true: their commands are run as they stand, or say there what they need that a test has not."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from common import ROOT, Points

from sft_sweeps.commands import init
from sft_sweeps.config.checks import problems
from sft_sweeps.data.mini import TOKENIZER
from sft_sweeps.models import train_tokenizer
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Shape

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The manual pages: examples about sweeps and files of the reader's own; tests/commands/test_style.py parses them.
MANUAL = "command_line.md"
NEEDS = re.compile(r"needs (?:a cluster|a GPU|GPUs|a network)")
SMALL = Shape(16, 16, 1, 1, 1, 2000, 4096)  # of a model's folder
OURS = ("python launch.py", "sft-sweeps ")
ATTACKS = ("sft-sweeps doctor", "sft-sweeps doctor sandbox")  # take a minute each; sandbox/test_attacks.py runs them
# What stands for the reader's own names, and which of the optional parts is tried.
NAMES = {
    "[SWEEP ...]": "quickstart",
    "[SWEEP]": "quickstart",
    "SWEEP": "quickstart",
    "STAGE --out DIR": "mini--math --out handed_on",
    "STAGE": "mini--math",
    "BENCHMARK FILE.jsonl --out OUT": "gsm8k answers.jsonl --out out.json --partial",
    "[--watch | --json]": "--json",
    "[--yes]": "--yes",
    "[--partial]": "--partial",
    "[--at 1] [--json]": "--at 1,1/2 --json",
    "[--budget 100] [--json]": "--budget 100 --json",
    "[--json] [--out DIR]": "--json --out report",
    "FILE ... --out FOLDER": "code_alpaca.jsonl.gz --out words",
    "sft-sweeps init FOLDER": "sft-sweeps init mine",
    "--vocab-size 2048 --out FOLDER": "--vocab-size 600 --out words",
    "tokenizer=FOLDER": "tokenizer=tokenizer",
    "folder=FOLDER": "folder=model",
    "add FILE.jsonl": "add chats.jsonl --dry-run",
    "ROWS.jsonl": "rows.jsonl",
    "FILE.tar.zst": "sweep.tar.zst",
    "TABLE.csv [--json]": "table.csv --json",
    "TABLE.csv": "table.csv",
    "REFERENCE.csv": "table.csv",
    "IDS.jsonl": "ids.jsonl",
}


class Command(NamedTuple):
    """A line of a code block; `needs` is what it says that it needs."""

    page: str
    line: str
    needs: str


def commands() -> Iterator[Command]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4}(?:\$ )?(.+)$", text, flags=re.MULTILINE):
            if line.startswith(OURS):
                need = NEEDS.search(line)
                yield Command(page.name, line.partition("   #")[0].strip(), need.group() if need else "")


def test_every_launch_composes(points: Points, tmp_path: Path) -> None:
    materialise(SMALL, 0, [], tmp_path / "model")
    seen = 0
    for command in commands():
        if command.line.startswith("python launch.py") and "--help" not in command.line:
            line = command.line.replace("model.folder=FOLDER", f"model.folder={tmp_path / 'model'}")
            overrides = shlex.split(line, comments=True)[2:]
            for point in points(*(override for override in overrides if override != "-m")):
                assert problems(point.config) == [], command
            seen += 1
    assert seen >= 15


def test_links_lead_somewhere() -> None:
    seen = 0
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), (page.name, target)
                seen += 1
    assert seen >= 15


def test_paths_in_code_are_there() -> None:
    pattern = re.compile(r"`((?:conf|sft_sweeps|tests|bench|docs|hydra_plugins)/[\w/.-]+)`")
    own = {"conf/local/default.yaml"}  # the user's
    named = {(page.name, name) for page in PAGES for name in pattern.findall(page.read_text(encoding="utf-8"))}
    assert [one for one in named if one[1] not in own and not (ROOT / one[1]).exists()] == []
    assert len(named) >= 20


def filled(line: str) -> list[str]:
    """The command with names in place of placeholders, without the optional parts that are not tried."""
    for name, value in NAMES.items():
        line = line.replace(name, value)
    line = re.sub(r" \[[^\]]*\](?=(?:[^']*'[^']*')*[^']*$)", "", line)  # what may be left out; not in a quoted value
    return shlex.split(line, comments=True)


def files(folder: Path) -> None:
    """What the commands name: small files in the formats that they stand for."""
    pairs = [
        {"question": f"How much is {n} + {n}?", "answer": f"{n} + {n} = {2 * n}\n#### {2 * n}"} for n in range(900)
    ]
    code = [{"instruction": f"Write {n}.", "input": "", "output": f"print({n})"} for n in range(900)]
    turns = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi, what can I do?"}]
    for name, rows in (("gsm8k_train", pairs), ("code_alpaca", code)):
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
    chats = [
        {"id": f"c{n}", "conversations": [{**turn, "value": f"{turn['value']} ({n})"} for turn in turns]}
        for n in range(900)
    ]
    for name in ("sharegpt", "chats"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    (folder / "fragen.csv").write_text("frage,antwort\n" + "".join(f"Was ist {n}?,{n}\n" for n in range(40)))
    said = [{"role": "caller", "content": "Hello"}, {"role": "helper", "content": "Hi"}]
    (folder / "calls.jsonl").write_text((json.dumps({"messages": said}) + "\n") * 40)
    (folder / "table.csv").write_text("method,7B GSM8K,MBPP\nours,47.53,20.2\ntheirs,41.98,\n")
    (folder / "rows.jsonl").write_text(json.dumps({"id": "1", "conversations": turns}) + "\n")
    answers = [{"id": n, "completion": f"#### {n}", "gold": str(n)} for n in range(4)]
    (folder / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    samples = [{"task_id": "HumanEval/0", "completion": "    return False\n"}]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    train_tokenizer.copy(TOKENIZER, folder / "tokenizer")
    materialise(SMALL, 0, sorted((folder / "tokenizer").iterdir()), folder / "model")
    (folder / "elsewhere" / "study").mkdir(parents=True)
    (folder / "elsewhere" / "study" / "mine.yaml").write_text(init.STUDY)
    mt_bench_files(folder)


def mt_bench_files(folder: Path) -> None:
    """FastChat's layouts, one question for each of the 80."""
    questions = [{"question_id": n, "category": "writing", "turns": ["Write.", "Again."]} for n in range(81, 161)]
    answers = [
        {"question_id": q["question_id"], "model_id": "m", "choices": [{"index": 0, "turns": ["a", "b"]}]}
        for q in questions
    ]
    template = "[Question]\n{question}\n\n[Answer]\n{answer}\n"
    names = ("single-v1", "single-math-v1", "single-v1-multi-turn", "single-math-v1-multi-turn")
    prompts = [
        {"name": name, "type": "single", "system_prompt": "You judge.", "prompt_template": template} for name in names
    ]
    for name, rows in (("question", questions), ("model_answer", answers), ("judge_prompts", prompts), ("gpt-4", [])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def runnable(pages: Collection[str]) -> Iterator[tuple[str, ...]]:
    """What is run of some pages, in their order; first the sweep that others look at.

    Of the plans of the miniature, the first alone tries a training step, which takes longer than planning.
    """
    yield ("python", "launch.py", "study=quickstart")
    measure: list[str] = []
    for command in commands():
        line = filled(command.line)
        if command.needs or command.page not in pages or shlex.join(line) in ATTACKS:
            continue
        if {"model=mini", "action=plan"} <= {*line}:
            line, measure = [*line, *measure], ["plan.measure=false"]
        yield tuple(line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pages", "least"),
    [
        pytest.param(["README.md", "CONTRIBUTING.md"], 5, id="readme"),
        # ten minutes; what each command does is tested in its own room, and that each line can be read by quick tests
        pytest.param([page.name for page in PAGES if page.name != MANUAL], 25, id="docs", marks=pytest.mark.long),
    ],
)
def test_every_command_runs(pages: list[str], least: int, tmp_path: Path) -> None:
    """In one folder, in the order of the pages, as a reader who has a checkout would."""
    files(tmp_path)
    for name in ("launch.py", "sft_sweeps", "hydra_plugins"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "conf", tmp_path / "conf")  # commands write into it
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HYDRA_", "SLURM_"))}
    environment |= {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    failed, lines = [], dict.fromkeys(runnable(pages))
    for line in lines:
        shutil.rmtree(tmp_path / "words", ignore_errors=True)
        done = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200, check=False
        )
        if done.returncode:
            failed.append(f"{shlex.join(line)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    assert not failed, "\n\n".join(failed)
    assert len(lines) >= least
