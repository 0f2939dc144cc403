"""What nvidia-smi says, as a small program in its place says it; torch's build by a file of its own."""

import importlib.util
import os
import stat
import sys
from pathlib import Path

import pytest

from sft_sweeps.commands.doctor import gpu
from sft_sweeps.commands.doctor.finding import Finding

A100 = "{n}, NVIDIA A100-SXM4-80GB, 535.104.05, 81920, {used}, Default, Disabled, {errors}"
TITLE = "| NVIDIA-SMI 535.104.05    Driver Version: 535.104.05    CUDA Version: 12.2     |"


def pretend(folder: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch, status: int = 0) -> None:
    """`nvidia-smi` on PATH, which answers so."""
    program = folder / "nvidia-smi"
    said = {True: "\n".join(lines), False: TITLE}
    text = f"#!{sys.executable} -SE\nimport sys\nprint({said!r}[len(sys.argv) > 1])\nsys.exit({status})\n"
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def found(lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> list[Finding]:
    pretend(tmp_path, lines, monkeypatch, status)
    gpus = gpu.smi()
    return [gpus] if isinstance(gpus, Finding) else list(gpu._gpus(gpus))


def test_eight_that_are_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [A100.format(n=n, used=4, errors=0) for n in range(8)]
    assert found(lines, tmp_path, monkeypatch) == [
        Finding("ok", "driver", "8 x NVIDIA A100-SXM4-80GB, 80 GiB, driver 535.104.05")
    ]
    assert gpu.cuda_of_driver() == "12.2"


@pytest.mark.parametrize(
    ("line", "level", "says"),
    [
        (A100.format(n=1, used=40960, errors=0), "warning", "40 of 80 GiB are in use"),
        (A100.format(n=1, used=4, errors=3), "problem", "3 memory errors that could not be corrected"),
        (A100.format(n=1, used=4, errors=0).replace("Default", "Prohibited"), "problem", "it takes no work"),
        (A100.format(n=1, used=4, errors=0).replace("Disabled", "Enabled"), "warning", "cut into parts (MIG)"),
        ("1, NVIDIA A10, 535.104.05, 23028, 4, Default, [N/A], [N/A]", "warning", "they are not alike"),
    ],
)
def test_one_that_is_not(line: str, level: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, one = found([A100.format(n=0, used=4, errors=0), line], tmp_path, monkeypatch)
    assert (one.level, says in one.text, bool(one.change)) == (level, True, True), one


def test_a_driver_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."]
    (one,) = found(said, tmp_path, monkeypatch, status=9)
    assert one.level == "problem"
    assert said[0] in one.text
    (none,) = found(["No devices were found"], tmp_path, monkeypatch)
    assert none.text == "nvidia-smi knows no GPU"


@pytest.mark.parametrize(
    ("cuda", "gpus", "driver", "level"),
    [
        ("", False, "", "ok"),
        ("", True, "12.2", "problem"),
        ("12.8", False, "", "ok"),
        ("12.8", True, "12.2", "ok"),  # CUDA is compatible within a major version
        ("13.0", True, "12.2", "problem"),
        ("12.8", True, "", "ok"),
    ],
)
def test_torch_and_the_driver(cuda: str, gpus: bool, driver: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "torch_build", lambda: ("2.13.0", cuda))
    assert gpu._torch(gpus, driver).level == level


def test_the_build_of_a_torch_is_read_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version, cuda = gpu.torch_build()
    assert ("+cpu" in version) == (not cuda), "this one's"
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip = None\n")
    spec = importlib.util.spec_from_file_location("torch", tmp_path / "torch" / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert gpu.torch_build() == (version, "12.8")


def test_what_the_probe_says() -> None:
    well, apart = list(gpu.tried({"count": 2, "wrong": [], "apart": ["0-1"], "nccl": "2.27.5"}))
    assert (well.level, apart.level) == ("ok", "warning")
    assert next(gpu.tried({"count": 2, "wrong": [1], "apart": [], "nccl": "2.27.5"})).level == "problem"


def test_a_lock_that_is_left_of_a_compilation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    (tmp_path / "py311_cu128" / "fused_adam").mkdir(parents=True)
    lock = tmp_path / "py311_cu128" / "fused_adam" / "lock"
    lock.touch()
    assert {one.level for one in gpu._deepspeed()} == {"ok"}, "somebody may be compiling"
    os.utime(lock, (1, 1))
    assert [one.change for one in gpu._deepspeed() if one.level == "warning"] == [f"rm {lock}"]
