"""What is made of what is told of a store as it lies, damaged records included."""

from pathlib import Path

import pytest
import values

from sft_sweeps.store import lineage
from sft_sweeps.store.store import RECORD, Store


@pytest.mark.parametrize(
    ("content", "digest"),
    [(b'{"digest": "sha256:ab"}', "sha256:ab"), (b'{"digest": "sha2', ""), (b"[1]", ""), (b"\xff", "")],
)
def test_a_damaged_record_has_no_digest(tmp_path: Path, content: bytes, digest: str) -> None:
    stage, store = values.stage(), Store(tmp_path)
    store.folder(stage).mkdir(parents=True)
    (store.folder(stage) / RECORD).write_bytes(content)
    assert lineage.model(stage, store).facts["digest"] == digest
