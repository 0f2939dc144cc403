"""`doctor store` says what is damaged, whatever byte of whatever file it is, and nothing of what is whole."""

import json
from pathlib import Path

import pytest
import values
from chat_files import chats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft_sweeps.commands import main
from sft_sweeps.commands.doctor.store import findings
from sft_sweeps.data import mini
from sft_sweeps.data.encode import prepare
from sft_sweeps.errors import RunError
from sft_sweeps.files import checksum
from sft_sweeps.models import train_tokenizer, weights
from sft_sweeps.models.init import materialise
from sft_sweeps.spec.training import Shape
from sft_sweeps.store import resume_states
from sft_sweeps.store.resume_states import ResumeState
from sft_sweeps.store.store import RECORD, Store, write_record
from sft_sweeps.worker import dispatch

SHAPE = Shape(hidden_size=8, intermediate_size=8, layers=1, heads=2, kv_heads=2, vocab_size=11, max_positions=64)


def finish(folder: Path) -> None:
    materialise(SHAPE, 0, [], folder / "model")
    files = [str(path.relative_to(folder)) for path in sorted((folder / "model").iterdir())]
    write_record(folder, values.stage().payload, files, {"digest": weights.digest(folder / "model")})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A store with a finished stage, a resume state and an encoded source."""
    store = Store(tmp_path / "store")
    finish(store.folder(values.stage()))
    state = store.root / "stages" / "other" / resume_states.FOLDER / "step-00000004"
    (state / "zero").mkdir(parents=True)
    (state / "zero" / "rank.pt").write_bytes(bytes(range(200)))
    sums = {"zero/rank.pt": checksum.of_file(state / "zero" / "rank.pt")}
    resume_states.write(state, ResumeState(4, 1, 3, 100, 1, resume_states.sizes(state), 0.1, sums))
    train_tokenizer.copy(mini.TOKENIZER, tmp_path / "words")
    source = chats(tmp_path / "a.jsonl", 20)
    key = prepare.encoded_key(source, tmp_path / "words", "vicuna_bare", 60)
    prepare.get(key, tmp_path / "words", [store.root])
    return store.root


def said(root: Path, deep: bool = True) -> list[str]:
    return [f"{one.about}: {one.text}" for one in findings(root, deep) if one.level != "ok"]


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))


def test_a_whole_store(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(root) == said(root, deep=False) == []
    assert main.main(["doctor", "store", "--deep", "--output-dir", str(root)]) == 0
    assert "1 record, 1 resume state, 1 encoded source whole" in capsys.readouterr().out
    assert main.main(["doctor", "store", "--output-dir", str(root / "absent")]) == 1


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_found(root: Path, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(files(root)))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    changed = bytearray(before)
    changed[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    try:
        found = said(root)
        same = path.suffix == ".json" and _equal(before, bytes(changed))
        assert same or (len(found) == 1 and any(str(folder) in found[0] for folder in path.parents[:3])), path
    finally:
        path.write_bytes(before)


def _equal(one: bytes, other: bytes) -> bool:
    """Blanks of JSON may be any."""
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def test_what_is_lost_is_found_without_reading(root: Path) -> None:
    (model,) = root.glob("stages/*/model/model.safetensors")
    model.unlink()
    (text,) = said(root, deep=False)
    assert "model/model.safetensors missing or of another size" in text


def test_records_without_checksums_have_a_digest(root: Path) -> None:
    (path,) = root.glob(f"stages/*/{RECORD}")
    record = json.loads(path.read_text())
    del record["checksums"], record["checksum"]
    path.write_text(json.dumps(record))
    assert said(root) == []
    model = path.parent / "model" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    (text,) = said(root)
    assert "other weights than were written" in text


def test_a_damaged_parent_is_not_trained_from(root: Path) -> None:
    store, stage = Store(root), values.stage()
    dispatch.gate(stage, store)
    model = store.weights(stage) / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 4
    model.write_bytes(content)
    with pytest.raises(RunError, match=r"model/model.safetensors of .* changed since .*record.json and launch again"):
        dispatch.gate(stage, store)


def test_a_damaged_source_is_encoded_anew(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = prepare.encoded_key(chats(tmp_path / "a.jsonl", 20), tmp_path / "words", "vicuna_bare", 60)
    folder = key.folder(root)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("ids.bin", "account.json"):
        changed = bytearray(whole[name])
        changed[len(changed) // 2] ^= 1
        (folder / name).write_bytes(changed)
        found = prepare.get(key, tmp_path / "words", [root])
        assert (folder / "ids.bin").read_bytes() == whole["ids.bin"]
        assert len(found) == json.loads(whole["account.json"])["examples"]
        assert f"{name} of {folder} changed since it was written" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"checksums": 3}', b"[" * 100_000])
def test_an_account_of_any_content_is_as_none(root: Path, tmp_path: Path, content: bytes) -> None:
    key = prepare.encoded_key(chats(tmp_path / "a.jsonl", 20), tmp_path / "words", "vicuna_bare", 60)
    (key.folder(root) / "account.json").write_bytes(content)
    assert key.find([root]) is None
    assert len(said(root)) == 1
    assert len(prepare.get(key, tmp_path / "words", [root])) > 0
    assert said(root) == []


def test_a_damaged_source_of_another_store_is_passed_over(root: Path, tmp_path: Path) -> None:
    key = prepare.encoded_key(chats(tmp_path / "a.jsonl", 20), tmp_path / "words", "vicuna_bare", 60)
    (key.folder(root) / "mask.bin").write_bytes(b"")
    found = prepare.get(key, tmp_path / "words", [tmp_path / "mine", root])
    assert found.folder.is_relative_to(tmp_path / "mine")
    assert (key.folder(root) / "mask.bin").read_bytes() == b""


def test_sources_of_before_there_were_checksums_are_read(root: Path, tmp_path: Path) -> None:
    key = prepare.encoded_key(chats(tmp_path / "a.jsonl", 20), tmp_path / "words", "vicuna_bare", 60)
    account = key.folder(root) / "account.json"
    content = json.loads(account.read_text())
    del content["checksums"], content["checksum"]
    account.write_text(json.dumps(content))
    assert said(root) == []
    assert prepare.get(key, tmp_path / "words", [root]).folder == key.folder(root)
