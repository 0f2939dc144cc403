"""What the keys of a row say beside its texts: each is read, means nothing for training, or makes the row refused.

A row that says it is not to be trained as it stands is refused with a reason of its own, because its examples would be
trained against its own word: what was thought or called before an answer belongs to it, a picture is part of the
question. An answer that is not to be learnt is given without being learnt (data/turn_flags.py). Null and whatever is
empty say nothing. Keys that nobody knows are ignored and counted. `data.bug_compatible` reads rows as FastChat does,
which knows none of these keys.
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from typing import Any

from sft_sweeps.data.formats import SYSTEM_KEYS
from sft_sweeps.data.preferences import CHOSEN_KEYS, REJECTED_KEYS
from sft_sweeps.data.roles import HUMAN, SYSTEM, TOOL, kind_of
from sft_sweeps.data.turn_flags import LEARNT, NO, TRAINED, WEIGHTS, YES, ZERO, asked, is_one, says_something, word

LISTS = ("conversations", "messages", "conversation", "prompt", "completion")  # of turns
MASKED = ("mask", "masked")  # the other way round
DETAILS = ("train_detail", "training_detail", "train_details")
LABELS = ("label", "kto_tag", "correct", "is_correct")
ACCEPTED = ("accepted", "is_accepted", "approved", "is_good")  # as labels, since version 2 of fields
DELETED = ("deleted", "is_deleted")  # the other way round
CHOICES = ("choices", "options")  # of a question, among which its answer is
LEFT_OUT = (
    *("ignore", "ignored", "skip", "skipped", "exclude", "excluded", "no_train", "no_loss", "train_on_input"),
    *("train_on_inputs", "train_on_prompt", "train_on_prompts"),
)  # more is to be learnt than answers
MEDIA = (
    *("image_path", "image_paths", "image_urls", "image_file", "image_files", "pixel_values", "img", "pictures"),
    *("audio_path", "audio_paths", "audio_url", "audio_file", "video_path", "video_paths", "video_file"),
)
NEWER = frozenset({*ACCEPTED, *DELETED, *CHOICES, *LEFT_OUT, *LEARNT, *MEDIA})  # since version 2 of fields
CALLS, TOOLS = ("tool_calls", "function_call"), ("tools", "functions")  # keys of a turn, of a row
REASONS: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "reasoning_content",
            "reasoning",
            "reasoning_details",
            "reasoning_text",
            "thinking",
            "thought",
            "thoughts",
            "chain_of_thought",
            "cot",
            "think",
        ),
        "reasoning_content",
    ),
    **dict.fromkeys((*CALLS, *TOOLS), "tool_calls"),
    **dict.fromkeys(("images", "videos", "audios", "image", "video", "audio", "image_url", "attachments"), "media"),
}
PREFERENCE = dict.fromkeys((*CHOSEN_KEYS, *REJECTED_KEYS), "rejected")
BAD_LABELS = NO | {"bad", "negative", "undesirable", "rejected", "incorrect", "wrong"}
PARTS: Mapping[str, str] = {
    **dict.fromkeys(("thinking", "reasoning", "redacted_thinking"), "reasoning_content"),
    **dict.fromkeys(("tool_use", "tool_result", "tool_call", "function_call"), "tool_calls"),
    **dict.fromkeys(
        ("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url", "file"), "media"
    ),
}
# Keys that say where a row comes from or what it is about, and nothing about what is learnt of it.
IGNORABLE = frozenset(
    {
        *("id", "ids", "idx", "index", "uuid", "uid", "hash", "key", "name", "row_id", "example_id", "prompt_id"),
        *("conversation_id", "conversation_hash", "message_id", "parent_id", "message_tree_id", "turn", "num_turns"),
        *("source", "sources", "src", "origin", "provenance", "dataset", "dataset_name", "subset", "split", "config"),
        *("category", "categories", "topic", "topics", "domain", "subject", "task", "task_name", "task_type", "type"),
        *("level", "difficulty", "style", "tags", "title", "url", "license", "author", "avatarUrl", "avatar"),
        *("lang", "language", "languages", "model", "model_name", "generator", "created", "created_at", "timestamp"),
        *("create_time", "update_time", "date", "time", "version", "metadata", "meta", "markdown", "user_id", "views"),
        *("num_tokens", "token_count", "tokens", "length", "plugins", "text_type", "end_turn", "recipient", "channel"),
    }
)
TEXTS = frozenset({"from", "role", "value", "content"})
RULED = frozenset({*WEIGHTS, *TRAINED, *MASKED, *DETAILS, *LABELS, *REASONS, *PREFERENCE, "system", *SYSTEM_KEYS})
RULED |= NEWER
# The files that conf/source pins, which have none of these keys.
WITHOUT = frozenset(
    {
        "git-blob:4599591b17572755907bd945e34d25a956dcab09",
        "sha256:17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
        "git-blob:a674db849e2ddf7127597bcebbe17c388c9a4887",
    }
)


def reason(
    row: Mapping[str, Any], roles: Mapping[str, str] | None = None, *, preferences: bool = False, tools: bool = False
) -> str:
    """Why a row must not be trained as it stands; "" where nothing speaks against it.

    `preferences`: it is read as one, so that an answer which was rejected says nothing against it. `tools`: so are the
    tools of the row, and the calls of its turns.
    """
    of_row, of_turn = (TOOLS, CALLS) if tools else ((), ())
    found = chain(_row_reasons(row, of_row), (_turn_reason(turn, roles, of_turn) for turn in turns_of(row)))
    return next((text for text in found if text and not (preferences and text == "rejected")), "")


def ignored(row: Mapping[str, Any], read: frozenset[str]) -> set[str]:
    """The keys with a value that are neither read nor known, those of a turn as `[].key`.

    `read` are the keys of the row's format.
    """
    lists = frozenset(key for key in LISTS if key in read)
    unknown = {key for key in row.keys() - read - RULED - IGNORABLE if says_something(row[key])}
    for turn in chain.from_iterable(row[key] for key in lists if isinstance(row.get(key), list)):
        if isinstance(turn, dict) and not turn.keys() <= TEXTS:
            more = turn.keys() - TEXTS - RULED - IGNORABLE
            unknown |= {f"[].{key}" for key in more if says_something(turn[key])}
    return unknown


def turns_of(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The turns of a row, wherever they are listed."""
    lists = (row.get(key) for key in LISTS)
    return (turn for listed in lists if isinstance(listed, list) for turn in listed if isinstance(turn, dict))


def _row_reasons(row: Mapping[str, Any], read: Collection[str]) -> Iterator[str]:
    if not row.keys().isdisjoint(RULED):
        yield from ("label_false" for key in LABELS if word(row.get(key)) in BAD_LABELS)
        speaking = (both for keys in (REASONS, PREFERENCE) for both in keys.items() if both[0] not in read)
        yield from (text for key, text in speaking if _holds(row.get(key)))
        yield from ("row_weight" for key in WEIGHTS if not is_one(row.get(key)))
        yield from ("row_weight" for key in TRAINED if word(row.get(key)) in NO)
        yield from ("row_weight" for key in MASKED if not _masks_prompts(row.get(key)))
    yield from newer_reasons(row)


def newer_reasons(row: Mapping[str, Any]) -> Iterator[str]:
    """Why a row is refused since version 2 of fields."""
    listed = any(isinstance(row.get(key), list) for key in LISTS)
    if not row.keys().isdisjoint(NEWER):
        yield from _newer_word(row, "row_weight")
        if not listed:  # choices belong to a question that stands alone
            yield from ("choices" for key in CHOICES if isinstance(row.get(key), list | dict) and _holds(row[key]))
    if listed and "history" in row and _holds(row["history"]):
        yield "history"
    if len({row[key] for key in SYSTEM_KEYS if isinstance(row.get(key), str) and row[key].strip()}) > 1:
        yield "two_systems"
    for turn in turns_of(row) if listed else ():
        if not turn.keys() <= TEXTS:
            yield from _newer_word(turn, "turn_weight")
            yield from ("label_false" for key in LABELS if word(turn.get(key)) in BAD_LABELS and _answers(turn))
            yield from ("rejected" for key in PREFERENCE if _holds(turn.get(key)))


def _newer_word(value: Mapping[str, Any], reason: str) -> Iterator[str]:
    """What a row, or a turn that is an answer, says of its own training."""
    yield from ("media" for key in MEDIA if _holds(value.get(key)))
    if reason == "row_weight":
        yield from (reason for key in LEARNT if word(value.get(key)) in NO)
    if reason == "row_weight" or _answers(value):
        yield from ("label_false" for key in ACCEPTED if word(value.get(key)) in BAD_LABELS)
        yield from ("label_false" for key in DELETED if word(value.get(key)) in YES)
        yield from (reason for key in LEFT_OUT if word(value.get(key)) in YES)


def _answers(turn: Mapping[str, Any]) -> bool:
    role = turn.get("from", turn.get("role"))
    return not isinstance(role, str) or kind_of(role) not in (HUMAN, SYSTEM, TOOL)


def _turn_reason(turn: Mapping[str, Any], roles: Mapping[str, str] | None, read: Collection[str]) -> str:
    if turn.keys() <= TEXTS:
        return _part_reason(turn)
    role = turn.get("from", turn.get("role"))
    supervised = not isinstance(role, str) or kind_of(role, roles) not in (HUMAN, SYSTEM, TOOL)
    if not _weight_is_kept(turn, supervised):
        return "turn_weight"
    named = next((text for key, text in REASONS.items() if key not in read and _holds(turn.get(key))), "")
    return named or _part_reason(turn)


def _part_reason(turn: Mapping[str, Any]) -> str:
    """Why a content of parts cannot be read as text, where one of them is known to be something else."""
    parts = next((value for key in ("value", "content") if isinstance(value := turn.get(key), list)), ())
    kinds = (part.get("type") for part in parts if isinstance(part, dict))
    return next((PARTS[kind] for kind in kinds if isinstance(kind, str) and kind in PARTS), "")


def _weight_is_kept(turn: Mapping[str, Any], supervised: bool) -> bool:
    """Whether training gives a turn what it asks for: 1 or 0 to an answer, none to a prompt, whatever weight it has."""
    if any(says_something(turn.get(key)) for key in DETAILS):
        return False
    if not supervised:
        return all(is_one(turn.get(key)) or word(turn.get(key)) in ZERO for key in WEIGHTS)
    return asked(turn) != "unclear" and all(word(turn.get(key)) in ("", "false") for key in MASKED)


def _masks_prompts(value: Any) -> bool:
    """Whether a row's mask is none, or that of the prompts."""
    return word(value) in ("", "false") or (isinstance(value, str) and kind_of(value) in (HUMAN, SYSTEM))


def _holds(value: Any) -> bool:
    """Whether a value has content of its own; a number or a yes only speaks of some ("thinking": true)."""
    return not isinstance(value, bool | int | float) and says_something(value)
