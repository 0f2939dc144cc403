"""`make cases`: small inputs that once showed a fault, each tried as a user would, with what it gives now.

They lie beside the project (../shared/cases; its README says what each is): the forms of real files with made-up
contents. The kinds have tests of their own elsewhere. Each case prints a line.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from common import SHARED, needs_shared
from fuzzing import Answer, answer, told

from sft_sweeps.commands.main import main
from sft_sweeps.data import read
from sft_sweeps.data.select import order

CASES = SHARED / "cases"
TOKENIZER = SHARED / "data" / "llama_tokenizer"
pytestmark = [pytest.mark.cases, needs_shared]

# What a file of rows gives: the number of its examples, or the reason that refuses it.
ROWS: dict[str, int | str] = {
    "01-system-role/rows.jsonl": 20,
    "02-tool-roles/rows.jsonl": "20 tool_turn",
    "03-consecutive-turns/rows.jsonl": "20 role_break",
    "04-alpaca-history-system/rows.jsonl": 20,
    "05-turn-weight/rows.jsonl": 20,
    "06-content-parts/rows.jsonl": 20,
    "07-prompt-completion/chat.jsonl": 20,
    "07-prompt-completion/dolly.jsonl": 20,
    "07-prompt-completion/instruction_response.jsonl": 20,
    "07-prompt-completion/problem_solution.jsonl": 20,
    "07-prompt-completion/rows.jsonl": 20,
    "08-encodings/array_per_object_concat.json": 20,
    "08-encodings/bom.jsonl": 20,
    "08-encodings/bom_array.json": 20,
    "08-encodings/bom_in_the_middle.jsonl": 20,
    "08-encodings/columns.json": 20,
    "08-encodings/cp1252.jsonl": 1,
    "08-encodings/cr_only.jsonl": 20,
    "08-encodings/crlf.jsonl": 20,
    "08-encodings/object_of_list.json": 20,
    "08-encodings/object_of_list_oneline.json": 20,
    "08-encodings/table.csv": 20,
    "08-encodings/utf16.jsonl": 20,
    "09-types/alpaca_input.jsonl": "4 not_text",
    "09-types/duplicate_ids.jsonl": 16,
    "09-types/rows.jsonl": 36,
    "11-role-names/ai.jsonl": 20,
    "11-role-names/bot.jsonl": 20,
    "11-role-names/capital.jsonl": 20,
    "11-role-names/hummany.jsonl": "the role 'hummany'",
    "11-role-names/instr.jsonl": 20,
    "11-role-names/model.jsonl": 20,
    "12-reasoning-content/rows.jsonl": "20 reasoning_content",
    "12-reasoning-content/tool_calls.jsonl": "20 tool_calls",
    "13-label-images/images.jsonl": "20 media",
    "13-label-images/kto.jsonl": "10 label_false",
    "13-label-images/pref.jsonl": "20 rejected",
    "14-numbered-ids/rows.jsonl": 800,
    "15-think-template/rows.jsonl": 20,
    "16-null-columns/concatenated.parquet": 20,
    "16-null-columns/json_string.parquet": 20,
    "16-null-columns/null_conversations.jsonl": 20,
    "16-null-columns/null_first.jsonl": 20,
    "16-null-columns/plain.parquet": 20,
    "16-null-columns/turn_keys.parquet": 20,
    "23-one-character-input/rows.jsonl": 10,
    "24-limit-forgotten/rows.jsonl": "20 tool_turn",
}


def say(capsys: pytest.CaptureFixture[str], case: str, what: str) -> None:
    with capsys.disabled():
        print(f"\n{case:50} {what[:110]}", end="")


def rows(file: Path, folder: Path, *arguments: str) -> Answer:
    """What a launch says that takes a file for its general data."""
    data = ["data=general", f"data.sources.general.path={file}", f"model.tokenizer={TOKENIZER}"]
    return answer([*data, "train.template=vicuna_bare", "evaluate=none", *arguments], folder)


def examples(given: Answer) -> int:
    """The examples in an inspection's table."""
    lines = given.out.splitlines()
    header = next(number for number, line in enumerate(lines) if line.split()[:2] == ["rows", "examples"])
    return int(lines[header + 1].split()[1].replace(",", ""))


def test_no_file_of_rows_is_forgotten() -> None:
    other = ("17", "19", "20", "21", "22", "sandbox", "README")
    there = {str(path.relative_to(CASES)) for path in CASES.rglob("*") if path.is_file()}
    assert {name for name in there if not name.startswith(other)} == set(ROWS)


@pytest.mark.parametrize("case", ROWS)
def test_rows(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = rows(CASES / case, tmp_path, "action=inspect")
    expected = ROWS[case]
    if isinstance(expected, str):
        assert (given.status, expected in given.error) == (2, True), given.error
        say(capsys, case, f"refused: {expected}")
    else:
        assert (given.status, examples(given)) == (0, expected), given
        account = re.search(r"turns: ([\d,]+) = (.*)", given.out)
        assert account is not None
        parts = [int(part.replace(",", "")) for part in re.findall(r"[\d,]*\d(?= [a-z])", account[2])]
        assert sum(parts) == int(account[1].replace(",", ""))
        say(capsys, case, f"{expected} examples; {account[0]}")


def test_numbered_ids_are_sampled_as_rows(capsys: pytest.CaptureFixture[str]) -> None:
    file = CASES / "14-numbered-ids" / "rows.jsonl"
    names = [json.loads(line)["id"].rpartition("_")[0] for line in file.read_text().splitlines()]
    examples = read.read(file, "s", max_bad_fraction=0.1).examples
    taken = order(examples, 0, "s")[: len(examples) // 16]
    parts = Counter(names[int(examples[index].id.rpartition("/")[2])] for index in taken)
    say(capsys, "14-numbered-ids 1/16", f"{dict(parts)}")
    assert set(parts) == set(names)


# What `sft-sweeps score` gives: how many answers of how many are right by the headline rule, or why it refuses.
SCORES: dict[str, tuple[int, int] | str] = {
    "20-gsm8k-markers/answers.jsonl": (17, 17),
    "22-score-files/array.json": (5, 5),
    "22-score-files/array_indent.json": (5, 5),
    "22-score-files/bom.jsonl": (5, 5),
    "22-score-files/crlf.jsonl": (5, 5),
    "22-score-files/gold_money.jsonl": (5, 5),
    "22-score-files/gold_number.jsonl": (4, 5),
    "22-score-files/list_completion.jsonl": (5, 5),
    "22-score-files/lmeval.jsonl": (5, 5),
    "22-score-files/u2028.jsonl": (5, 5),
    "21-humaneval/three_one_liners.jsonl": (3, 3),
    "21-humaneval/other_shapes.jsonl": (5, 6),  # the sixth needs numpy, which no task of HumanEval may use
}


@pytest.mark.parametrize("case", SCORES)
def test_scores(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark = ["humaneval", "--extract"] if case.startswith("21") else ["gsm8k"]
    out = tmp_path / "out.json"
    given = told(lambda: main(["score", *benchmark, str(CASES / case), "--partial", "--out", str(out)]))
    expected = SCORES[case]
    if isinstance(expected, str):
        assert (given.status, expected in given.error) == (2, True), given
        say(capsys, case, f"refused: {expected}")
    else:
        assert given.status == 0, given.error
        items = json.loads(out.read_text())["items"]
        right = sum(item["passed"] if "passed" in item else item["verdicts"]["hierarchical"] for item in items)
        assert (right, len(items)) == expected
        say(capsys, case, f"{right} of {len(items)} right")


def test_a_limit_is_not_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = CASES / "24-limit-forgotten" / "rows.jsonl"
    raised = "data.sources.general.max_bad_fraction=0.5"
    given = [rows(file, tmp_path, "action=prepare", *more) for more in ([], [raised], [])]
    assert [one.status for one in given] == [2, 0, 2], given
    say(capsys, "24-limit-forgotten, three times", "refused, allowed at 0.5, refused")


def test_a_tokenizer_of_tiktoken_is_told_for_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in TOKENIZER.iterdir():
        shutil.copy(file, tmp_path)
    shutil.copy(CASES / "19-llama3-tiktoken-model" / "tokenizer.model", tmp_path)
    file = CASES / "11-role-names" / "ai.jsonl"
    given = rows(file, tmp_path / "store", "action=inspect", f"model.tokenizer={tmp_path}")
    assert given.status == 0, given.error
    (tmp_path / "tokenizer.json").unlink()
    alone = rows(file, tmp_path / "store", "action=inspect", f"model.tokenizer={tmp_path}")
    assert alone.status == 2
    assert "tiktoken" in alone.error
    say(capsys, "19-llama3-tiktoken-model", "left alone beside a tokenizer.json, named without one")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("17-stray-safetensors/stray", "old_model.safetensors is not one of the model's files"),
        ("18-tied-head/model", "tie_word_embeddings"),
    ],
)
def test_a_folder_that_has_two_readings(
    name: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(CASES / "17-stray-safetensors", tmp_path / "17-stray-safetensors")
    made = [sys.executable, str(tmp_path / "17-stray-safetensors" / "make.py"), str(TOKENIZER)]
    subprocess.run(made, check=True, capture_output=True)
    folder = f"model.folder={tmp_path / name}"
    shape = "model.shape={hidden_size:64,intermediate_size:128,layers:2,heads:4,kv_heads:4,vocab_size:32000}"
    file = CASES / "11-role-names" / "ai.jsonl"
    more = ["action=launch", "model=mini", folder, shape, f"model.tokenizer={tmp_path / name}", "train=mini"]
    for zero in ("zero3", "zero2"):
        given = rows(file, tmp_path / zero, *more, f"deepspeed={zero}")
        assert (given.status, reason in given.error) == (2, True), given.error
    say(capsys, name, f"refused by ZeRO 2 and 3: {reason}")
