"""What a user may type, or do, about rows that are refused for what they say."""

import re
from collections.abc import Iterator, Mapping

ROLE = re.compile(r"the role '([^']+)'")
REMEDIES: Mapping[str, str] = {
    "unknown_role": "say what the role means, human, assistant, system or tool: '{slot}.roles={{{role}: assistant}}'.",
    "system_turn": "this train.template has no place for a system text, or one stands behind the first prompt. Choose "
    "another template, e.g. chat_template, or leave such turns out: {slot}.system_turns=drop.",
    "tool_turn": "no template here writes calls of tools and what they answer. Leave these turns out with "
    "{slot}.tool_turns=drop, or end the conversation before them with {slot}.tool_turns=cut.",
    "role_break": "two turns of one role follow each other. Make them one with {slot}.clean.role_break=join, or end "
    "the conversation before the second with {slot}.clean.role_break=cut.",
    "turn_weight": "a turn says that it is not to be learnt as the others. Take the row out, or the key.",
    "row_weight": "the row says that it is not to be learnt as the others. Take the row out, or the key.",
    "label_false": "the row says that its answer is bad. Take it out.",
    "rejected": "a row of preferences holds an answer that is not to be learnt. Keep the prompt and the chosen answer.",
    "media": "pictures and sounds cannot be given to these models. Take the row out.",
    "reasoning_content": "what was thought before an answer is kept apart from it. Write it into the answer, as the "
    "model is to write it, or take the key out.",
    "tool_calls": "calls of tools, or the tools themselves, are kept apart from the texts. Take the row out.",
    "choices": "the answer is one of choices that stand apart from the question. Write them into the question, or take "
    "the key out.",
    "two_contexts": "context, input, passage or article say different things that the prompt may be about. "
    "Keep one of them.",
    "not_text": "a prompt, an answer or a turn is missing, or no text. Write a number as text; write turns as "
    '{{"role": "user", "content": "..."}}.',
    "not_an_object": "a row is a list, a text or a number. Write each as an object, one a line: jq -c '.[]' FILE > NEW "
    "where the rows are in lists.",
    "unknown_fields": "name the keys as one format does, e.g. jq -c '{{question: .A, answer: .B}}' FILE > NEW.",
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
    role = ROLE.search(samples.get("unknown_role", ""))
    for reason, remedy in REMEDIES.items():
        if reason in samples:
            yield f"{reason}: {remedy.format(slot=slot, role=role[1] if role else 'NAME')}"
