"""The tests' own Slurm: whoever starts it, it leaves nothing behind; where there is none, that is not overlooked."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import slurm_cluster
from common import ROOT


def test_an_ordinary_user_has_one_too() -> None:
    """The script's text is handed over: a checkout may be closed to others."""
    slurm_cluster.need()
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        folder.chmod(0o1777)
        script = slurm_cluster.SCRIPT.read_text()
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", script, "slurm_up.sh"]
        subprocess.run([*user, "up", str(folder / "c")], check=True, capture_output=True, timeout=60)
        env = {"SLURM_CONF": str(folder / "c/etc/slurm.conf"), "PATH": os.environ["PATH"]}
        done = subprocess.run(
            [*user[:4], "srun", "--gpus-per-node=2", "bash", "-c", "id -u; echo $CUDA_VISIBLE_DEVICES"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=env,
            cwd="/",
        )
        assert done.stdout == "65534\n0,1\n", done.stderr
    finally:
        subprocess.run([*user, "wipe", str(folder / "c")], check=True, timeout=60)
        assert list(folder.iterdir()) == []
        shutil.rmtree(folder)


def test_no_daemon_outlives_a_killed_test() -> None:
    slurm_cluster.need()
    program = (
        "import time, slurm_cluster\nwith slurm_cluster.running() as c: print(c.folder, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    folder = Path(process.stdout.readline().strip())
    daemons = [int(path.read_text()) for path in (folder / "run").glob("*.pid")]
    assert len(daemons) == 4
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 20
    while time.monotonic() < end and folder.exists():
        time.sleep(0.1)
    assert not folder.exists()
    assert [daemon for daemon in daemons if slurm_cluster.alive(daemon)] == []
    folder.parent.rmdir()


def test_without_slurm_tests_are_skipped_loudly_or_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(slurm_cluster, "DAEMONS", str(tmp_path))
    monkeypatch.delenv(slurm_cluster.REQUIRED, raising=False)
    with (
        pytest.warns(UserWarning, match="Slurm is NOT TESTED: no slurmctld, .*apt-get install"),
        pytest.raises(pytest.skip.Exception),
    ):
        slurm_cluster.need()
    monkeypatch.setenv(slurm_cluster.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="slurmdbd mariadb-server"):
        slurm_cluster.need(accounting=True)
