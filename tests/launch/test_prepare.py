"""`action=prepare`: files are downloaded, checked and encoded, whatever another one lacks; plans count them then."""

import json
from pathlib import Path

import pytest
from common import Launch
from file_server import PIN, Server


def test_prepare_fetches_checks_and_encodes_and_names_what_fails(
    launch: Launch, server: Server, tmp_path: Path
) -> None:
    line = [
        *("action=prepare", "model=mini", "train=mini", "data=mixed", "output_dir=out"),
        *(f"data.sources.math.url={server.url}", f"data.sources.math.content={PIN}", "data.sources.math.rows=20000"),
        "data.sources.code.url=http://127.0.0.1:1/code.json",
    ]
    done = launch(*line)
    assert done.returncode == 1
    assert "fetched gsm8k_rft: out/data/gsm8k_rft/u33b.jsonl" in done.stdout
    assert "prepared gsm8k_rft: 20,000 examples of 20,000 rows" in done.stdout
    assert "failed code_alpaca cannot be fetched" in done.stdout
    assert "place it at out/data/sharegpt/sharegpt.jsonl" in done.stdout
    asked = len(server.asked)
    server.status = 404
    done = launch(*line[:-1], "~data.sources.code", "~data.sources.general")
    assert done.returncode == 0, done.stdout
    assert len(server.asked) == asked
    (account,) = (tmp_path / "out" / "encoded").glob("gsm8k_rft-*/account.json")
    assert json.loads(account.read_text())["rows"] == 20_000


def chat(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[index % 2], "value": text} for index, text in enumerate(texts)]


def test_the_plan_counts_what_was_prepared(launch: Launch, tmp_path: Path) -> None:
    """Long conversations are split into more examples than the file has rows."""
    rows = [{"id": f"c{n}", "conversations": chat(f"word {n} " * 15, *["word " * 30] * 7)} for n in range(40)]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["model=mini", "train=mini", "data=general", f"data.sources.general.path={path}", "cluster=local"]
    line += [
        "evaluate=none",
        "data.sources.general.clean.split_tokens=250",
        "data.fraction=1/4",
        "output_dir=out",
        "plan.output=plan.json",
    ]
    counts = []
    for action in ("plan", "prepare", "plan"):
        done = launch(f"action={action}", *line)
        assert done.returncode == 0, done.stdout + done.stderr
        plan = json.loads((tmp_path / "plan.json").read_text())
        counts.append(plan["stages"][0]["mixture"][0]["examples"])
    (account,) = (tmp_path / "out" / "encoded").glob("*/account.json")
    examples = json.loads(account.read_text())["examples"]
    assert examples > 40
    assert counts == [10, 10, examples // 4]
    assert f"{examples:,} examples, as prepared (counted: 40 rows)" in done.stdout


@pytest.mark.slow
@pytest.mark.long  # reasons and accounts of encoding have quick tests in jobs/test_encoding.py
def test_a_limit_raised_once_is_not_raised_for_ever(launch: Launch, tmp_path: Path) -> None:
    """What the store has, and whether anything is left to do, says nothing about what this request allows."""
    rows = [{"conversations": chat(f"question {n}?", f"answer {n}")} if n % 3 else {"x": n} for n in range(60)]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["model=mini", "train=mini", "train.epochs=1", "data=general", f"data.sources.general.path={path}"]
    line += ["data.fraction=1/4", "evaluate=none", "tracking=none", "cluster=local", "output_dir=out"]
    raised, refused = "data.sources.general.max_bad_fraction=0.5", "raise data.sources.general.max_bad_fraction"
    wanted = [
        ("prepare", ""),
        ("prepare", raised),
        ("prepare", ""),
        ("inspect", ""),
        ("launch", ""),
        ("launch", raised),
    ]
    for action, limit in [*wanted, ("launch", ""), ("inspect", "")]:
        done = launch(f"action={action}", *line, *filter(None, [limit]))
        assert done.returncode == (0 if limit else 2), (action, limit, done.stdout, done.stderr)
        assert (refused in done.stderr) == (not limit)
        assert done.stderr.count("20 of the 60 rows") == (not limit)
