"""Whatever became of a record, claim, plan or frozen job, who reads it takes it, or says what is wrong with it."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import made_sweeps
import pytest
import values
from fuzzing import hunt, where
from mutations import spoilt

from sft_sweeps.config.resolve_sources import account_of
from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.files import private
from sft_sweeps.files.encoded import ACCOUNT, ENCODED
from sft_sweeps.identity import canonical, plain
from sft_sweeps.jobs import attempts, frozen
from sft_sweeps.jobs.job import Encoding, Job
from sft_sweeps.plan.build import build
from sft_sweeps.store import claims, failures
from sft_sweeps.store.store import RECORD, RecordError, Store, check_identity, damaged_files, lost_files, read_record
from sft_sweeps.store.survey import survey
from sft_sweeps.store.sweeps import PLAN, Sweep
from sft_sweeps.tracking.metrics import METRICS
from sft_sweeps.worker import process

pytestmark = pytest.mark.fuzz

PLANNED = build([("data=mini", values.request(values.mixed(), "sequential", every_stage=True))])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    made_sweeps.made(root, PLANNED, lambda _: [True, False])
    return root


def test_records(made: Path, tmp_path: Path) -> None:
    """One that is taken says what was written of its work, and which of its files are lost or damaged."""
    store = Store(shutil.copytree(made, tmp_path / "store"))
    items = [*PLANNED.subjects, *PLANNED.generations, *PLANNED.scores]
    whole = {item.id: (store.write_folder(item) / RECORD).read_bytes() for item in items}

    def case(chance: Random) -> Iterator[str]:
        item = chance.choice(items)
        folder = store.write_folder(item)
        (folder / RECORD).write_bytes(spoilt(whole[item.id], chance))
        try:
            with contextlib.suppress(RecordError):
                if (record := read_record(folder, item.payload)) is not None:
                    yield from () if record["payload"] == item.payload else [f"another's is taken: {record}"]
                    lost_files(folder, record)
                    damaged_files(folder, record)
            states = survey(PLANNED, Store(store.root)).states
            yield from () if states[item.id].state in STATES else [f"{states[item.id]}"]
        finally:
            (folder / RECORD).write_bytes(whole[item.id])

    hunt(case)


STATES = ("done", "missing", "corrupted", "weights gone")


def test_claims(tmp_path: Path) -> None:
    """A claim that is none holds nothing for ever; the next one is taken, or whoever holds it is named."""
    good = claims.take(tmp_path, "sweep")
    assert good
    written = claims._file(tmp_path, good).read_bytes()
    slurm = json.dumps({**json.loads(written), "call": "sweep.abc", "job": "17", "owner": "nobody-here"}).encode()

    def case(chance: Random) -> Iterator[str]:
        folder = tmp_path / str(chance.getrandbits(64))
        folder.mkdir()
        path = folder / "claim-0001.json"
        path.write_bytes(spoilt(chance.choice((written, slurm)), chance))
        if chance.random() < 0.7:
            os.utime(path, (1, 1))
        holder = claims.holder(folder)
        yield from () if holder is None or holder.who else [f"{holder}"]
        claims.of_call(folder, "sweep.abc", -1)
        claims.heartbeat(folder, good)
        taken = claims.take(folder, "next")
        if taken and claims.holder(folder) != taken:
            yield f"taken, and held by another: {claims.holder(folder)}"
        if not taken and claims.holder(folder) is None:
            yield "neither held nor taken"
        shutil.rmtree(folder)

    hunt(case, 0.5)


def test_plans(made: Path, tmp_path: Path) -> None:
    """A plan that is read is one: its parts can be asked for; else RequestError."""
    sweep = Sweep(next((made / "sweeps").iterdir()))
    whole = (sweep.folder / PLAN).read_bytes()
    other = Sweep(shutil.copytree(sweep.folder, tmp_path / sweep.name))

    def case(chance: Random) -> Iterator[str]:
        (other.folder / PLAN).write_bytes(spoilt(whole, chance))
        with contextlib.suppress(RequestError):
            survey(other.plan(), Store(tmp_path))
        with contextlib.suppress(RequestError):
            other.plan([PLANNED.stages[0].id])
        with contextlib.suppress(RequestError):
            other.question.strip()
        yield from ()

    hunt(case)


def _jobs() -> list[Job]:
    encoding = Encoding(values.source(), values.model(), "vicuna_bare", 512, "0123456789ab")
    training = Job("train", "/store", values.stage(), TrainExecution())
    return [training, Job("encode", "/store", values.model(), encodings=(encoding,)), replace(training, parent="x")]


def test_frozen_jobs(tmp_path: Path) -> None:
    """What a worker takes is what was submitted, to the byte; what `status` reads of it is a job or none."""
    path, digest = frozen.write(tmp_path, "encode-sweep.abcdef", dict(enumerate(_jobs())))
    whole = path.read_bytes()
    lines = whole.split(b"\n")

    def case(chance: Random) -> Iterator[str]:
        private_file = private.folder(tmp_path, "jobs") / path.name
        content = spoilt(whole, chance)
        private_file.write_bytes(content)
        with contextlib.suppress(RunError):
            number = chance.randrange(3)
            line, of_job = frozen.read(path, digest, str(number))
            if hashlib.sha256(line).hexdigest() == of_job and line != lines[number + 1]:
                yield "another job is taken for the one that was submitted"
        for kind in ("encode", "train"):
            found = frozen.latest(tmp_path, kind)
            yield from () if isinstance(found[1], dict) else [f"{found}"]

    hunt(case)


def test_jobs_of_a_worker() -> None:
    """A job that was changed is none: ValueError, before anything is done for it."""
    frozen_jobs = [json.dumps(plain(job)).encode() for job in _jobs()]

    def case(chance: Random) -> Iterator[str]:
        content = spoilt(chance.choice(frozen_jobs), chance)
        with contextlib.suppress(ValueError):
            job = process.read(content)
            yield from () if job.id and job.folder else [f"{content[:300]!r}"]

    hunt(case)


def test_what_lies_beside_them(made: Path, tmp_path: Path) -> None:
    """Identities, attempts, failures and accounts of encoded sources."""
    stage = PLANNED.stages[0]
    folder = shutil.copytree(Store(made).folder(stage), tmp_path / "stage")
    (folder / METRICS).write_text("".join(json.dumps({"step": n, "steps": 9, "seconds": 1.0}) + "\n" for n in (1, 2)))
    identity = json.dumps(stage.payload).encode()
    attempts.begin(folder, "1", 0, 1)
    failures.write(folder, "train-x", "it broke")
    files = {
        path.name: path.read_bytes()
        for path in (folder / attempts.ATTEMPTS, folder / failures.FAILURE, folder / METRICS)
    }
    source = values.source()
    about = {"template": "vicuna_bare", "max_length": 512, "tokenizer": "t", "identity": canonical(source)}
    account = {"rows": 1, "examples": 1, "tokens": 9, "checksums": {"ids.bin": "0"}, **about}
    encoded = folder / ENCODED / "math-0123456789ab"
    encoded.mkdir(parents=True)

    def case(chance: Random) -> Iterator[str]:
        (folder / "identity.json").write_bytes(spoilt(identity, chance))
        (encoded / ACCOUNT).write_bytes(spoilt(json.dumps(account).encode(), chance))
        for name, content in files.items():
            (folder / name).write_bytes(spoilt(content, chance))
        with contextlib.suppress(RequestError):
            check_identity(folder, stage.payload, write=False)
        account_of(source, values.RECIPE, "t", folder)
        try:
            failures.reason_of(folder).strip()
            attempts.begin(folder, "2", 1, 1)
            attempts.end(folder, "done")
            attempts.usage(folder, running=False)
        except RunError:
            pass
        except Exception as raised:
            yield where(raised)

    hunt(case, 0.2)
