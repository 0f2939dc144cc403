"""What a user may type, or do, about rows that are refused for what they say."""

import json
import re
from collections.abc import Iterator, Mapping

ROLES = re.compile(r"the roles? ('[^']+'(?:, '[^']+')*)")
NAME = re.compile(r"'([^']+)'")
PLAIN = re.compile(r"[\w-]+")
TEXT_KEY = re.compile(r'"([A-Za-z_][\w-]*)": "')
REMEDIES: Mapping[str, str] = {
    "unknown_role": "say who that is, human, assistant, system or tool, e.g. '{slot}.roles={roles}'.",
    "system_turn": "this train.template has no place for a system text, or one stands behind the first prompt. Choose "
    "another template, e.g. chat_template, or leave such turns out: {slot}.system_turns=drop.",
    "tool_turn": "calls of tools and what they answer are written with {slot}.tool_turns=render and a chat template "
    "that has a place for them (docs/models.md lists some). Or leave them out with {slot}.tool_turns=drop, or end the "
    "conversation before them with {slot}.tool_turns=cut.",
    "role_break": "two turns of one role follow each other. Make them one with {slot}.clean.role_break=join, or end "
    "the conversation before the second with {slot}.clean.role_break=cut.",
    "turn_weight": "an answer's weight may be 1 (learnt) or 0 (given, not learnt). Other weights belong to a whole "
    "source: data.weight.{name}=2. Round them, or take the key out.",
    "row_weight": "the row says that it is not to be learnt as the others. Take the row out, or have the key ignored, "
    "e.g. '{slot}.columns={{weight: null}}'; a weight that all rows share is data.weight.{name}=2.",
    "no_answer_to_learn": "all answers of the row have weight 0. Take the row out.",
    "missing_column": "these rows lack a column that {slot}.columns names. Complete them, or take them out.",
    "chosen_is_rejected": "what was chosen was rejected, too, so that nothing of the row was preferred. Take it out.",
    "no_prompt": "nothing says what the chosen answer answers. Name its column: '{slot}.columns={{prompt: NAME, "
    "chosen: chosen, rejected: rejected}}'.",
    "two_prompts": "the prompt is not in the conversation that was chosen. Take one of them out.",
    "label_false": "the row says that its answer is bad. Take it out.",
    "rejected": "a row of preferences holds an answer that is not to be learnt. To train on what was chosen, and on "
    "nothing that was rejected, type {slot}.format=chosen.",
    "media": "pictures and sounds cannot be given to these models. Take the row out.",
    "reasoning_content": "what was thought before an answer is kept apart from it. Write it into the answer, as the "
    "model is to write it, or take the key out.",
    "tool_calls": "calls of tools, or the tools themselves, are kept apart from the texts. They are written with "
    "{slot}.tool_turns=render and a chat template that has a place for them (docs/models.md lists some). Or take the "
    "row out.",
    "tools_unclear": 'tools are a list of {{"name": ..., "description": ..., "parameters": ...}}, or the text of one.',
    "call_unclear": 'a call is {{"name": ..., "arguments": {{...}}}}, or the arguments are the text of such an object.',
    "answer_without_call": "a tool answers that was not called, or twice. Write the call before it, as an assistant's "
    "tool_calls or a turn of function_call.",
    "tools_left_out_by_template": "the chat template writes nothing, or not all, of a tool, its call or its answer. "
    "Take one that does (docs/models.md lists some), or {slot}.tool_turns=drop.",
    "choices": "the answer is one of choices that stand apart from the question. Write them into the question, or take "
    "the key out.",
    "two_contexts": "context, input, passage or article say different things that the prompt may be about. "
    "Keep one of them.",
    "not_text": "a prompt, an answer or a turn is missing, or no text. Write a number as text; write turns as "
    '{{"role": "user", "content": "..."}}.',
    "not_an_object": "a row is a list, a text or a number. Write each as an object, one a line: jq -c '.[]' FILE > NEW "
    "where the rows are in lists.",
    "unknown_fields": "say which columns hold what: '{slot}.columns={{prompt: {prompt}, response: {response}}}', or "
    "messages for a list of turns.",
    "two_systems": "several keys hold system texts that differ. Keep one of them.",
    "changed_by_template": "the chat template writes these texts otherwise than they are, e.g. without what was "
    "thought in earlier turns, or fails on them. Take a template that keeps them, or another train.template.",
    "history": "write it as [[prompt, answer], ...] beside a pair, or as turns of the conversation.",
    "answer_in_prompt": "a prompt that holds answers leaves open whether they are learnt. Write it as messages.",
}


def remedies(samples: Mapping[str, str], slot: str) -> Iterator[str]:
    """A line for each reason of dropped rows, with a sample each, about which something can be done.

    `slot` is the key of the source.
    """
    keys = [*dict.fromkeys(TEXT_KEY.findall(samples.get("unknown_fields", ""))), "A", "B"]
    words = {
        "slot": slot,
        "name": slot.rpartition(".")[2],
        "roles": _roles(samples.get("unknown_role", "")),
        "prompt": keys[0] if len(keys) > 3 else "A",
        "response": keys[1] if len(keys) > 3 else "B",
    }
    for reason, remedy in REMEDIES.items():
        if reason in samples:
            yield f"{reason}: {remedy.format(**words)}"


def _roles(sample: str) -> str:
    """The unknown names of a row, as they may be typed: of two, the first asks and the second answers."""
    found = ROLES.search(sample)
    names = [typed(name) for name in NAME.findall(found[1])] if found else ["NAME"]
    if len(names) == 1:
        return f"{{assistant: [{names[0]}]}}"
    return f"{{human: [{names[0]}], assistant: [{names[1]}]}}"


def typed(name: str) -> str:
    """A name as it can be typed in a list."""
    return name if PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)
