"""What others' programs do, restated from their sources without our code: the truth that golden files are made from.

`fastchat_encode` is FastChat 0.2.30's `preprocess` (fastchat/train/train.py, conversation.py) on a SentencePiece model;
where ../shared is at hand, tests/test_references.py holds it to what FastChat itself recorded. The rules of GSM8K are
gsm8k-ScRel's eval.py (25d2c40) and lm-evaluation-harness 0.4's `gsm8k` (strict-match, flexible-extract, exact_match).
"""

import re
from collections.abc import Sequence
from typing import Any

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ROLES = {"human": "USER", "gpt": "ASSISTANT"}
SEPARATORS = (" ", "</s>")


def _ids(processor: Any, text: str) -> list[int]:
    """LLaMA's tokenizer of transformers 4.33 (`legacy`): what stands between special tokens is encoded alone."""
    special = {processor.id_to_piece(token): token for token in (0, 1, 2)}  # <unk>, <s>, </s>
    parts = re.split("(<unk>|<s>|</s>)", text)
    encoded = [[special[part]] if part in special else processor.encode(part) for part in parts if part]
    return [1, *(token for ids in encoded for token in ids)]


def fastchat_prompt(turns: Sequence[dict[str, str]]) -> str:
    """`Conversation.get_prompt` of the template vicuna_v1.1 (SeparatorStyle.ADD_COLON_TWO)."""
    text = SYSTEM + SEPARATORS[0]
    for index, turn in enumerate(turns):
        message = turn["value"]
        text += f"{ROLES[turn['from']]}: {message}{SEPARATORS[index % 2]}" if message else f"{ROLES[turn['from']]}:"
    return text


def fastchat_encode(processor: Any, turns: Sequence[dict[str, str]], max_length: int) -> dict[str, Any]:
    """{input_ids without padding, supervised_spans [start, stop), truncated, reason}; padding is <unk>, as there.

    `reason` is ours: "mismatch" where FastChat prints its warning and supervises nothing, "no_answer_before_cut" where
    nothing is supervised without a warning, else "ok".
    """
    turns = turns if turns[0]["from"] == "human" else turns[1:]
    text = fastchat_prompt(turns)
    whole = _ids(processor, text)
    ids = whole[:max_length]
    targets = [True] * len(ids)
    total_len = sum(token != 0 for token in ids)
    cur_len = 1
    targets[:1] = [False]
    boundary = " ASSISTANT: "
    for turn in text.split("</s>"):
        parts = turn.split(boundary)
        if turn == "" or len(parts) != 2:
            break
        instruction_len = len(_ids(processor, parts[0] + boundary)) - 2
        for index in range(cur_len, min(cur_len + instruction_len, len(ids))):
            targets[index] = False
        cur_len += len(_ids(processor, turn))
    targets[cur_len:] = [False] * len(targets[cur_len:])
    mismatch = cur_len < max_length and cur_len != total_len
    if mismatch:
        targets = [False] * len(ids)
    reason = "mismatch" if mismatch else "ok" if any(targets) else "no_answer_before_cut"
    truncated = len(whole) > max_length
    return {"input_ids": ids, "supervised_spans": _spans(targets), "truncated": truncated, "reason": reason}


def _spans(flags: Sequence[bool]) -> list[list[int]]:
    edges = [index for index in range(len(flags) + 1) if (*flags, False)[index] != (False, *flags)[index]]
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


def screl(output: str, gold: str) -> bool:
    """gsm8k-ScRel: extract_answer, and a difference of less than 1e-4; what it reads ends at a NUL."""
    match = re.compile(r"#### (\-?[0-9\.\,]+)").search(output.partition("\0")[0])
    if not match:
        return False
    try:
        return abs(float(match.group(1).strip().replace(",", "")) - float(gold)) < 1e-4
    except ValueError:
        return False


def _exact_match(prediction: str, reference: str) -> bool:
    for ignored in (",", r"\$", r"(?s).*#### ", r"\.$"):
        prediction, reference = re.sub(ignored, "", prediction), re.sub(ignored, "", reference)
    return prediction.lower() == reference.lower()


def lm_eval_strict(output: str, gold: str) -> bool:
    """The harness's strict-match: the first match."""
    matches = re.findall(r"#### (\-?[0-9\.\,]+)", output)
    return _exact_match(matches[0] if matches else "[invalid]", gold)


def lm_eval_flexible(output: str, gold: str) -> bool:
    """The harness's flexible-extract: the last match, of either group."""
    matches = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", output)
    found = next(part for part in matches[-1] if part) if matches else "[invalid]"
    return _exact_match(found.strip(), gold)


def judge_request(
    prompt: dict[str, str], questions: Sequence[str], answers: Sequence[str], references: Sequence[str]
) -> list[tuple[str, str]]:
    """FastChat's `run_judge_single` (llm_judge/common.py): the messages for a judge prompt of its file."""
    kwargs = {f"ref_answer_{turn}": text for turn, text in enumerate(references, 1)}
    if prompt["name"].endswith("multi-turn"):
        kwargs |= {f"question_{turn}": text for turn, text in enumerate(questions, 1)}
        kwargs |= {f"answer_{turn}": text for turn, text in enumerate(answers, 1)}
    else:
        kwargs |= {"question": questions[0], "answer": answers[0]}
    return [("system", prompt["system_prompt"]), ("user", prompt["prompt_template"].format(**kwargs))]
