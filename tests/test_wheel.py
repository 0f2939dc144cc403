"""What a user installs: the wheel alone, in an empty environment and an empty folder, plans and trains."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from common import ROOT

BUILT_FROM = (
    "sft_sweeps",
    "hydra_plugins",
    "conf",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)
IGNORED = shutil.ignore_patterns("__pycache__", "default.yaml")
Command = Callable[..., subprocess.CompletedProcess[str]]


def copy_source(folder: Path) -> None:
    """The files of a checkout that a wheel is built from, and a site's own settings, which must not come with it."""
    folder.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "conf" / "local" / "default.yaml").write_text("# @package _global_\ncluster: {account: secret}\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that is built from it; nothing is built in the checkout."""
    source, out = tmp_path_factory.mktemp("build") / "source", tmp_path_factory.mktemp("dist")
    copy_source(source)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def bin_folder(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new environment with the wheel; the libraries are this environment's, found by a .pth line."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    line = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-qq",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(line, check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries))
    return folder / "bin"


@pytest.fixture
def command(bin_folder: Path, tmp_path: Path) -> Command:
    """A command of the new environment, run in an empty folder or one below it."""

    def run(*line: str, folder: str = ".") -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HYDRA_"))}
        return subprocess.run(
            [str(bin_folder / line[0]), *line[1:]],
            cwd=tmp_path / folder, env=environment | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    return run


def configuration() -> dict[str, bytes]:
    """The files under conf/ that belong to the project, by their path there."""
    files = [path for path in (ROOT / "conf").rglob("*") if path.suffix in (".yaml", ".example")]
    found = {str(path.relative_to(ROOT / "conf")): path.read_bytes() for path in files}
    found.pop("local/default.yaml", None)
    return found


def test_conf_is_in_the_wheel_as_in_the_checkout(built: Path) -> None:
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    prefix = "sft_sweeps/conf/"
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if prefix in name}
    assert len(shipped) >= 50
    assert shipped == configuration()
    with tarfile.open(source) as archive:
        inside = {name.partition("/conf/")[2] for name in archive.getnames()}
    assert inside >= set(configuration())
    assert "local/default.yaml" not in inside


def test_the_lock_file_pins_everything_but_torch() -> None:
    """`make install` uses it; what is not in it would be whatever is newest. It names no address."""
    text = (ROOT / "requirements.lock").read_text()
    pinned = {line.partition("==")[0] for line in text.splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    lists = [project["project"]["dependencies"], *extras.values(), *groups.values()]
    wanted = {re.match(r"[\w-]+", requirement)[0] for requirements in lists for requirement in requirements}
    assert wanted - pinned == {"torch"}, "make lock"
    assert "://" not in text


def test_a_user_starts_from_nothing(command: Command, bin_folder: Path, tmp_path: Path) -> None:
    imported = command("python", "-c", "import sft_sweeps; print(sft_sweeps.__file__)").stdout
    assert Path(imported).is_relative_to(bin_folder.parent)
    done = command("sft-sweeps", "status")
    assert "start one with: sft-sweeps launch study=quickstart" in done.stderr
    done = command("sft-sweeps", "init", "study")
    assert (done.returncode, done.stderr) == (0, "")
    done = command("sft-sweeps", "launch", "study=mine", "action=plan", "plan.output=plan.json", folder="study")
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads((tmp_path / "study" / "plan.json").read_text())
    assert [run["label"] for run in plan["runs"]] == ["mini dmt k=1/16", "mini dmt k=1/4"]
    assert plan["totals"]["stages"] == 3
    assert not (tmp_path / "study" / "multirun_outputs").exists()


def test_a_study_of_the_wheel_is_the_same_as_in_the_checkout(command: Command, tmp_path: Path) -> None:
    line = ["study=table1", "model=llama7b", "action=plan"]
    assert command("sft-sweeps", "launch", *line, "plan.output=installed.json").returncode == 0
    script = [sys.executable, str(ROOT / "launch.py"), *line, "plan.output=checkout.json"]
    subprocess.run(script, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)
    assert (tmp_path / "installed.json").read_text() == (tmp_path / "checkout.json").read_text()


def test_ones_own_configuration_wins(command: Command, tmp_path: Path) -> None:
    """--config-dir before the working folder's conf/, that before the wheel's; and no file of them is needed."""
    for folder, batch_size in (("conf", 8), ("elsewhere", 4)):
        path = tmp_path / folder / "train" / "mini.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(f"# mine\nbatch_size: {batch_size}\n")
    (tmp_path / "conf" / "local").mkdir()
    (tmp_path / "conf" / "local" / "default.yaml").write_text("# @package _global_\nname: from_my_site\n")
    line = ["launch", "train=mini", "--cfg", "job"]
    shown = command("sft-sweeps", *line).stdout
    assert ("batch_size: 8" in shown, "name: from_my_site" in shown) == (True, True)
    assert "batch_size: 4" in command("sft-sweeps", *line, "--config-dir", "elsewhere").stdout
    assert "batch_size: 16" in command("sft-sweeps", "launch", "train=paper", "--cfg", "job").stdout


def test_the_papers_tables_are_in_the_wheel(command: Command) -> None:
    done = command("sft-sweeps", "audit", "--paper", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cells"] == 259


@pytest.mark.slow
def test_a_launch_from_the_wheel_trains(command: Command, tmp_path: Path) -> None:
    """Worker processes start from the console script's `__main__`, which is no file of the project."""
    line = ["model=mini", "data=mini_math", "train=mini", "data.fraction=1/64", "evaluate=none", "tracking=none"]
    done = command("sft-sweeps", "launch", *line, "cluster=local")
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = (tmp_path / "multirun_outputs" / "stages").glob("*/record.json")
    assert json.loads(record.read_text())
    assert "1 of 1 stages" in command("sft-sweeps", "status").stdout
