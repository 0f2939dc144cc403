"""What runs for a user is his alone: whatever the umask, and whoever else may write in the store."""

import contextlib
import hashlib
import multiprocessing
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import values
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_sweeps.errors import RequestError, RunError
from sft_sweeps.execution import TrainExecution
from sft_sweeps.files import private
from sft_sweeps.jobs import frozen
from sft_sweeps.jobs.job import Job
from sft_sweeps.launch.slurm import snapshot
from sft_sweeps.store import sharing
from sft_sweeps.worker import process, slurm_entry

USERS, LAB = {"anna": 4001, "ben": 4002}, 4000


def as_user(name: str, work: Callable[..., None], *arguments: object) -> None:
    """In a process of a user of the group, whose umask lets the group write."""

    def run() -> None:
        os.setgroups([LAB])
        os.setgid(USERS[name])
        os.setuid(USERS[name])
        os.umask(0o002)
        work(*arguments)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture
def sweep() -> Iterator[Path]:
    """A sweep's folder in a shared store of Anna's."""
    if os.getuid() != 0:
        pytest.skip("TWO USERS IN ONE STORE IS NOT TESTED: only root can be two users")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        root = Path(name) / "store"
        root.mkdir()
        os.chown(root, USERS["anna"], LAB)

        def share() -> None:
            sharing.share(root)
            (root / "sweeps" / "one").mkdir()
            sharing.keep_names(root / "sweeps" / "one")

        as_user("anna", share)
        yield root / "sweeps" / "one"


def modes(folder: Path) -> set[str]:
    return {f"{stat.S_IMODE(path.stat().st_mode):o}" for path in (folder, *folder.rglob("*"))}


@settings(max_examples=12, deadline=None)
@given(umask=st.sampled_from([0, 0o002, 0o022, 0o027, 0o077]), above=st.sampled_from([0o755, 0o2775, 0o777, 0o700]))
def test_modes_follow_from_no_umask_and_no_folder_above(
    tmp_path_factory: pytest.TempPathFactory, umask: int, above: int
) -> None:
    parent = tmp_path_factory.mktemp("store")
    parent.chmod(above)
    before = os.umask(umask)
    try:
        code = snapshot.take(parent)
        jobs = private.folder(parent, "jobs")
        private.write(jobs / "a.json", b"{}")
    finally:
        os.umask(before)
    assert modes(parent / "code") | modes(jobs) == {"755", "644"}
    assert private.read(jobs / "a.json") == b"{}"
    assert all(private.problem(path) == "" for path in (code, *code.rglob("*")))


def test_another_user_changes_nothing_and_gets_folders_of_his_own(sweep: Path) -> None:
    def anna() -> None:
        private.write(private.folder(sweep, "jobs") / "job.json", b"{}")

    def ben() -> None:
        for attack in (
            lambda: (sweep / "jobs" / "job.json").write_bytes(b"x"),
            (sweep / "jobs" / "job.json").unlink,
            (sweep / "jobs" / "more.json").touch,
            lambda: (sweep / "jobs").rename(sweep / "aside"),
            lambda: sweep.rename(sweep.with_name("aside")),
        ):
            with pytest.raises(OSError, match="ermi"):
                attack()
        own = private.folder(sweep, "jobs")
        assert own.name in ("jobs-4002", "jobs-ben")
        private.write(own / "job.json", b"mine")
        assert private.read(own / "job.json") == b"mine"
        with pytest.raises(RunError, match="belongs to user 4001, and is run for user 4002"):
            private.read(sweep / "jobs" / "job.json")
        os.environ[private.TRUSTED] = "4001"
        assert private.read(sweep / "jobs" / "job.json") == b"{}"

    as_user("anna", anna)
    as_user("ben", ben)
    assert next(path.name for path in private.folders(sweep, "jobs")) == "jobs"
    assert len(private.folders(sweep, "jobs")) == 2


def test_sharing_a_store_leaves_what_runs_alone(sweep: Path) -> None:
    def anna() -> None:
        snapshot.take(sweep)
        root = sweep.parents[1]
        root.chmod(0o755)  # not shared any more
        sharing.share(root)

    as_user("anna", anna)
    assert modes(sweep / "code") == {"755", "644"}
    assert f"{stat.S_IMODE(sweep.stat().st_mode):o}" == "3775"


def test_folders_that_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "jobs").symlink_to(tmp_path / "elsewhere")
    assert private.folder(tmp_path, "jobs").name == f"jobs-{private._user()}"
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr(private, "_user", lambda: "other")
    (tmp_path / "jobs-other").write_text("")
    with pytest.raises(RequestError, match="jobs-other is not yours"):
        private.folder(tmp_path, "jobs")


def writable(path: Path) -> None:
    path.chmod(0o664)


def folder_writable(path: Path) -> None:
    path.parent.chmod(0o775)


def a_link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def of_another(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("FILES OF ANOTHER USER ARE NOT TESTED: only root can give a file away")
    os.chown(path, 4001, -1)


SPOILED = [writable, folder_writable, a_link, of_another]


@pytest.mark.parametrize("spoil", SPOILED, ids=[spoil.__name__ for spoil in SPOILED])
def test_what_others_may_change_is_not_read(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = private.folder(tmp_path, "jobs") / "a.json"
    private.write(path, b"{}")
    spoil(path)
    with pytest.raises(RunError):
        private.read(path)


def _bash(script: str) -> int:
    return subprocess.run(["bash", "-c", script], check=False, stderr=subprocess.DEVNULL).returncode


def changed(code: Path) -> None:
    (code / "sft_sweeps" / "errors.py").write_bytes(b"import os")


def added(code: Path) -> None:
    (code / "sft_sweeps" / "more.py").touch()


def renamed(code: Path) -> None:
    (code / "sft_sweeps" / "errors.py").rename(code / "sft_sweeps" / "errors2.py")


def module_writable(code: Path) -> None:
    (code / "sft_sweeps" / "errors.py").chmod(0o666)


def linked(code: Path) -> None:
    (code / "sft_sweeps" / "link.py").symlink_to("errors.py")


def given_away(code: Path) -> None:
    of_another(code / "sft_sweeps" / "train")


CHANGED = [changed, added, renamed, module_writable, linked, given_away]


@pytest.mark.parametrize("spoil", CHANGED, ids=[spoil.__name__ for spoil in CHANGED])
def test_the_batch_script_starts_no_code_but_what_was_submitted(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    code = snapshot.take(tmp_path)
    script = private.shell_check(code, snapshot.digest_of(code), [])
    assert _bash(script) == 0
    spoil(code)
    assert _bash(script) == 1
    other = snapshot.take(tmp_path)  # nor is it used by the next launch
    assert _bash(private.shell_check(other, snapshot.digest_of(other), [])) == 0


def test_a_task_does_the_job_of_its_index_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[tuple[Job, Path]]()

    def run(content: bytes, of_job: str, path: Path) -> None:
        assert hashlib.sha256(content).hexdigest() == of_job
        done.append((process.read(content), path))

    monkeypatch.setattr(slurm_entry.slurm_task, "run", run)
    jobs = {index: Job("train", str(tmp_path), values.stage(seed=index), TrainExecution()) for index in (0, 3, 12)}
    path, digest = frozen.write(tmp_path, "one", jobs)
    alone, of_alone = frozen.write(tmp_path, "two", {-1: jobs[12]})
    for index in jobs:
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        slurm_entry.main(str(path), digest)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID")
    slurm_entry.main(str(alone), of_alone)
    assert done == [*((job, path) for job in jobs.values()), (jobs[12], alone)]
    for wrong in (of_alone, ""):
        with pytest.raises(SystemExit):
            slurm_entry.main(str(path), wrong)
    assert len(done) == 4


@given(st.data())
def test_no_byte_of_a_job_can_be_changed_unseen(data: st.DataObject) -> None:
    """Of another job of the call it may: that is seen by the other's task."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = {index: Job("train", folder, values.stage(seed=index), TrainExecution()) for index in (0, 1)}
        path, digest = frozen.write(Path(folder), "one", jobs)
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 2))
        private.write(path, whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :])
        unseen = 0
        for index in ("0", "1"):
            with contextlib.suppress(RunError):
                content, of_job = frozen.read(path, digest, index)
                unseen += hashlib.sha256(content).hexdigest() == of_job
        begins = whole.index(b"\n") + 1
        between = begins + len(whole[begins:].split(b"\n")[0])  # the end of a line is no part of a job
        assert unseen == (2 if at == between else 0 if at < begins else 1)
