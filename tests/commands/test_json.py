"""docs/json.md says what the commands print with `--json`: held against real outputs of every command."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from common import ROOT
from real_outputs import ELSEWHERE, outputs

from sft_sweeps.commands import command

KEY = re.compile(r"`(?P<name>[^`]+)` (?P<type>[^,?]+)(?P<optional>\??)")
SCALARS = {"text": str, "number": (int, float), "flag": bool, "null": type(None)}
# Of what real outputs of one small store cannot show: a queue, a judge, another schema's rows.
UNSEEN = {"export left_out{}", "cancelled[]", "left[]", "failed{}", "jobs[]", "jobs[].progress", "judge scores{}"}


@dataclass
class Form:
    """What docs/json.md says of one command: of each path its keys with their types, or the type of its values."""

    whole: list[dict[str, str]] = field(default_factory=list)
    paths: dict[str, dict[str, str] | str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)


def documented() -> dict[str, Form]:
    forms: dict[str, Form] = {}
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL):
        form = Form()
        for of, keys in re.findall(r"^\| (all|`[^|]+) \| ([^|]+) \|", body, flags=re.MULTILINE):
            listed = {found["name"]: found["type"].strip() + found["optional"] for found in KEY.finditer(keys)}
            if of == "all":
                form.whole.append(listed)
            for path in re.findall(r"`([^`]+)`", of):
                form.paths[path] = listed or keys.strip()
        forms.update(dict.fromkeys(re.split(r", | and ", title), form))
    return forms


def faults(value: Any, kind: str, path: str, form: Form) -> Iterator[str]:
    """In what a value is not of a documented type."""
    kinds = kind.rstrip("?").split(" or ")
    if "any" in kinds or any(isinstance(value, SCALARS[one]) for one in kinds if one in SCALARS):
        return
    if isinstance(value, list) and (listed := next((one for one in kinds if one.startswith("list")), "")):
        inner = listed.removeprefix("list").removeprefix(" of ") or "object"
        for one in value:
            yield from faults(one, inner, f"{path}[]", form)
    elif isinstance(value, dict) and "object" in kinds:
        yield from object_faults(value, path, form)
    else:
        yield f"{path} is {value!r:.40}, which is no {kind}"


def object_faults(value: Mapping[str, Any], path: str, form: Form) -> Iterator[str]:
    if f"{path}{{}}" in form.paths:
        for name, one in value.items():
            inner = form.paths[f"{path}{{}}"]
            form.seen.add(f"{path}{{}}")
            if isinstance(inner, str):
                yield from faults(one, inner, f"{path}.{name}", form)
            else:
                yield from keys_faults(one, inner, f"{path}{{}}", form)
    elif isinstance(keys := form.paths.get(path), dict):
        yield from keys_faults(value, keys, path, form)
    else:
        yield f"nothing is said of {path}"


def keys_faults(value: Mapping[str, Any], keys: Mapping[str, str], path: str, form: Form) -> Iterator[str]:
    form.seen.add(path)
    inside = f"{path}." if path else ""
    yield from (f"{inside}{key} is not documented" for key in value.keys() - keys.keys())
    yield from (f"{inside}{key} is not there" for key in keys.keys() - value.keys() if not keys[key].endswith("?"))
    for key in keys.keys() & value.keys():
        yield from faults(value[key], keys[key], f"{inside}{key}", form)


def whole_faults(value: Mapping[str, Any], form: Form) -> list[str]:
    """Of the alternative that fits best."""
    return min((list(keys_faults(value, keys, "", form)) for keys in form.whole), key=len, default=["no table"])


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any]]:
    return list(outputs(tmp_path_factory.mktemp("real")))


def test_every_command_prints_what_is_documented(real: list[tuple[str, Any]]) -> None:
    forms = documented()
    said = {name: whole_faults(value, forms.get(name, Form())) for name, value in real}
    assert {name: found for name, found in said.items() if found} == {}
    unseen = {f"{name} {path}" for name, form in forms.items() if name not in ELSEWHERE for path in form.paths.keys() -
              form.seen}  # fmt: skip
    assert {one for one in unseen if one not in UNSEEN and one.partition(" ")[2] not in UNSEEN} == set()


def test_the_version_of_the_form_comes_first(real: list[tuple[str, Any]]) -> None:
    assert {name for name, value in real if next(iter(value)) != "schema" or type(value["schema"]) is not int} == set()


def test_no_command_is_forgotten(real: list[tuple[str, Any]]) -> None:
    commands = command.own_commands().keys()
    assert commands - {name for name, _ in real} - ELSEWHERE.keys() == set()
    assert documented().keys() >= commands


def test_what_is_wrong_is_told(real: list[tuple[str, Any]]) -> None:
    """Of each real output one key more, one less, one of another type."""
    forms = documented()
    for name, value in real:
        key = next(key for key, kind in forms[name].whole[-1].items() if not kind.endswith("?") and kind != "any")
        for wrong in (
            {**value, "more": 1},
            {k: v for k, v in value.items() if k != "schema"},
            {**value, key: object()},
        ):
            assert whole_faults(wrong, forms[name]), (name, key)
