"""The file that holds the jobs of one call: what `status` finds in it. Who may have written it: tests/files."""

import json
import os
from pathlib import Path

import pytest
import values

from sft_sweeps.execution import TrainExecution
from sft_sweeps.files import private
from sft_sweeps.identity import plain
from sft_sweeps.jobs import frozen
from sft_sweeps.jobs.job import Encoding, Job
from sft_sweeps.worker import process


def encoding(key: str) -> Job:
    made = Encoding(values.source(), values.model(), "vicuna_bare", 512, key)
    return Job("encode", "/store", values.model(), encodings=(made,))


@pytest.mark.parametrize("newest", ["one of a call", "of version 1.0", "of this machine"])
def test_what_was_frozen_last_is_found_however_it_was(newest: str, tmp_path: Path) -> None:
    assert frozen.latest(tmp_path, "encode") == ("", {})
    jobs = private.folder(tmp_path, "jobs")
    training = Job("train", "/store", values.stage(), TrainExecution())
    of_call, _ = frozen.write(tmp_path, "encode-sweep.encode", {0: training, 1: encoding("one of a call")})
    other, _ = frozen.write(tmp_path, "encode-sweep.abcdef", {-1: training})
    alone = {"of version 1.0": f"{encoding('').id}-0123abcd.json", "of this machine": f"{encoding('').id}.json"}
    for key, name in alone.items():
        (jobs / name).write_text(json.dumps(plain(encoding(key))))
    old_call = jobs / "sweep.abcdef.call"
    old_call.write_text(json.dumps({"-1": [str(jobs / alone["of version 1.0"]), "0123"]}))
    for path in jobs.iterdir():
        os.utime(path, (1, 1))
    for path in (other, old_call, {"one of a call": of_call}.get(newest) or jobs / alone[newest]):
        os.utime(path, (2, 2))
    subject, found = frozen.latest(tmp_path, "encode")
    assert subject == values.model().id
    assert found["encodings"][0]["key"] == newest


DAMAGED = [
    *(b"", b"[" * 10**5, b"\xff", b"3\n", b'{"0": 1}\n', b'{"0": ["encode-x", -9, 3, ""]}\n'),
    *(b'{"0": ["encode-x", 1%s, 2, ""]}\n{}\n' % (b"0" * 30), b'{"0": ["encode-x", 0, 1%s, ""]}\n{}\n' % (b"0" * 15)),
    b'{"0": ["train-x", 0, 2, ""]}\n{}\n',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_what_was_damaged_tells_nothing(content: bytes, tmp_path: Path) -> None:
    earlier, _ = frozen.write(tmp_path, "encode-sweep.encode", {-1: encoding("earlier")})
    os.utime(earlier, (1, 1))
    (private.folder(tmp_path, "jobs") / "encode-sweep.abcdef.encode.call").write_bytes(content)
    assert frozen.latest(tmp_path, "encode")[1]["encodings"][0]["key"] == "earlier"
    earlier.unlink()
    assert frozen.latest(tmp_path, "encode") == ("", {})
    with pytest.raises(ValueError, match=r"."):
        process.read(content)


def test_a_job_whose_number_is_infinite_is_none() -> None:
    job = plain(Job("train", "/store", values.stage(), TrainExecution()))
    job["subject"]["recipe"]["adam_epsilon"] = "9" * 1000
    with pytest.raises(ValueError, match="no identity: inf"):
        process.read(json.dumps(job).encode())
