"""A throw-away Slurm for tests: real daemons on this machine, gone with the process that asked for them.

It is reached through the environment in `Cluster.env` alone (SLURM_CONF); a machine's own Slurm is never touched. Its
nodes are called 127.0.0.10, 127.0.0.11, ...; partitions: `main` (the default) preempts `low`, whose jobs are requeued.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm_up.sh")
REQUIRED = "SFT_SWEEPS_REQUIRE_SLURM"  # set by .ci/run: there a missing Slurm is a failure
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"})
DAEMONS = os.pathsep.join(("/usr/sbin", "/sbin"))  # not on an ordinary user's PATH
NEEDED = ("slurmctld", "slurmd", "munged", "sbatch")
NEEDED_TO_ACCOUNT = ("slurmdbd", "mariadbd")


@dataclass(frozen=True)
class Cluster:
    """`env` holds what a process needs to talk to it."""

    folder: Path
    env: dict[str, str]

    @property
    def conf(self) -> Path:
        return Path(self.env["SLURM_CONF"])

    def run(
        self, *command: str | Path, check: bool = True, cwd: Path | None = None, seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A command with its output as text; AssertionError, with what it said, where it fails and `check`."""
        done = subprocess.run(
            command, env=self.env, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def sbatch(self, script: str, *options: str) -> str:
        """Submit shell text; the job's id. Its output goes to `log/ID.out` of the cluster's folder."""
        out = f"--output={self.folder}/log/%A_%a.out"
        return self.run("sbatch", "--parsable", out, *options, "--wrap", script).stdout.strip()

    def queue(self) -> dict[str, str]:
        """The state of every job and element; ended ones too."""
        text = self.run("squeue", "-h", "-r", "-a", "-t", "all", "-o", "%i %T").stdout
        return dict(line.split(" ", 1) for line in text.splitlines())

    def wait(self, *jobs: str, states: Collection[str] = ENDED, seconds: float = 30) -> dict[str, str]:
        """Until each job, and each element of an array, is in one of the states; their states."""
        found: dict[str, str] = {}

        def there() -> bool:
            found.clear()
            found.update({job: state for job, state in self.queue().items() if {job, job.split("_")[0]} & {*jobs}})
            return bool(found) and all(state in states for state in found.values())

        self.until(there, seconds, lambda: f"{jobs} are not {states} but {found}")
        return found

    def until(self, happens: Callable[[], object], seconds: float, why: Callable[[], str] = lambda: "") -> None:
        """AssertionError, with the controller's last words, when it has not happened after so many seconds."""
        end = time.monotonic() + seconds
        while not happens():
            assert time.monotonic() < end, f"{why()} after {seconds} s\n{self.log()}"
            time.sleep(0.1)

    def log(self) -> str:
        """The end of the controller's log."""
        return (self.folder / "log" / "slurmctld.log").read_text()[-3000:]

    def stop(self, daemon: str, signal: str = "TERM") -> None:
        """End `slurmctld` or a node's `slurmd.127.0.0.10`, and wait until it is gone."""
        process = int((self.folder / "run" / f"{daemon}.pid").read_text())
        subprocess.run(["kill", f"-{signal}", str(process)], check=True)
        self.until(lambda: not alive(process), 20, lambda: f"{daemon} does not end")

    def lives(self, daemon: str) -> bool:
        """Whether it runs: a daemon can end by itself."""
        try:
            return alive(int((self.folder / "run" / f"{daemon}.pid").read_text()))
        except (OSError, ValueError):
            return False

    def start(self, daemon: str) -> None:
        """Bring it back, with the state it had."""
        name, _, node = daemon.partition(".")
        self.run(name, "-f", self.conf, *(["-N", node] if node else []))
        self.until(lambda: self.run("scontrol", "ping", check=False).returncode == 0, 20, lambda: f"no {daemon}")


def alive(process: int) -> bool:
    """A container's init may leave the dead unburied for seconds."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def running(
    nodes: int = 2, gpus: int = 8, max_array: int = 10001, accounting: bool = False, extra: str = ""
) -> Iterator[Cluster]:
    """A cluster of nodes with 64 CPUs and 200 GB each (pretended); `extra` is appended to its slurm.conf.

    Skips the test where Slurm is not installed.
    """
    need(accounting)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
    folder.chmod(0o711)  # other users' commands read slurm.conf
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
    env |= {"SLURM_CONF": str(folder / "c" / "etc" / "slurm.conf"), "PATH": os.pathsep.join((env["PATH"], DAEMONS))}
    knobs = {"NODES": nodes, "GPUS": gpus, "MAXARRAY": max_array, "ACCT": int(accounting), "EXTRA": extra}
    # It wipes itself when its input closes, so that a killed test process leaves no daemon either. It has a session of
    # its own: Ctrl-C must not reach it before the tests have ended.
    with tempfile.TemporaryFile() as errors:
        keeper = subprocess.Popen(
            [SCRIPT, "hold", folder / "c"],
            env=env | {f"SLURM_{key}": str(value) for key, value in knobs.items()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        try:
            if keeper.stdout.readline() != b"ready\n":
                keeper.wait(60)
                errors.seek(0)
                pytest.fail(f"no Slurm cluster: {errors.read().decode(errors='replace')}")
            yield Cluster(folder / "c", env)
        finally:
            keeper.stdin.close()
            keeper.wait(60)
            keeper.stdout.close()
            shutil.rmtree(folder, ignore_errors=True)


def need(accounting: bool = False) -> None:
    """Skip, with a warning in the summary of the tests, where Slurm is not installed; fail where it is required."""
    programs = NEEDED + (NEEDED_TO_ACCOUNT if accounting else ())
    path = os.pathsep.join((os.environ["PATH"], DAEMONS))
    missing = [program for program in programs if shutil.which(program, path=path) is None]
    if not missing:
        return
    packages = "slurmctld slurmd slurm-client munge" + (" slurmdbd mariadb-server" if accounting else "")
    text = f"Slurm is NOT TESTED: no {', '.join(missing)}; apt-get install --no-install-recommends {packages}"
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{text} ({REQUIRED}=1)")
    warnings.warn(text, stacklevel=2)
    pytest.skip(text)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Two nodes of 8 GPUs, without accounting (no sacct)."""
    with running() as made:
        yield made


@pytest.fixture(scope="session")
def accounted_cluster() -> Iterator[Cluster]:
    """Two nodes of 8 GPUs, with accounting."""
    with running(accounting=True) as made:
        yield made
