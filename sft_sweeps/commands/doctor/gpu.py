"""This machine's GPUs: driver, memory, torch's build, NCCL, kernels; and each one tried by a process of its own.

Torch is not imported here: what it is built for stands in a file, and what it can do is asked of another process.
"""

import importlib.util
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sft_sweeps.commands.doctor.finding import Finding
from sft_sweeps.commands.doctor.request import DoctorRequest
from sft_sweeps.launch.gpus import gpus_here

PROBE = Path(__file__).with_name("gpu_probe.py")
PROBE_SECONDS, ANSWER_SECONDS = 60, 15
FIELDS = "index,name,driver_version,memory.total,memory.used,compute_mode,mig.mode.current"
FIELDS += ",ecc.errors.uncorrected.volatile.total"
OTHERS_MB = 1024.0  # in use, beyond which somebody else works on it
SHARED_MEMORY_GB = 1.0  # of /dev/shm, through which NCCL and data pass between processes; containers have 0.06
TROUBLE = ("NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE", "NCCL_IB_DISABLE", "CUDA_LAUNCH_BLOCKING")
STALE_SECONDS = 600.0  # of a lock of DeepSpeed's or torch's compilations
STAFF = "tell the machine's staff"


@dataclass(frozen=True)
class Gpu:
    """One line of nvidia-smi; what a device does not tell is empty."""

    index: str
    name: str
    driver: str
    total_mb: float
    used_mb: float
    mode: str
    mig: str
    errors: int


def asked(_: DoctorRequest) -> Iterator[Finding]:
    """The GPUs first, then what works on them."""
    count = gpus_here()
    gpus = None
    if shutil.which("nvidia-smi"):
        gpus = smi()
        yield from [gpus] if isinstance(gpus, Finding) else _gpus(gpus)
    elif count:
        yield Finding("warning", "driver", f"{count} GPUs, but no nvidia-smi to ask about them", f"{STAFF}, or add it")
    else:
        yield Finding("ok", "driver", "no GPU here: models that need none train on the CPU")
    yield _torch(has_gpus := bool(count or (gpus and not isinstance(gpus, Finding))), cuda_of_driver())
    yield from _deepspeed()
    if has_gpus:
        yield from _kernels()
        yield from _nccl()
        yield from _tried()


def smi() -> list[Gpu] | Finding:
    """What nvidia-smi says, or that it does not."""
    command = ["nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return Finding("problem", "driver", f"nvidia-smi does not answer within {ANSWER_SECONDS} s", STAFF)
    if done.returncode:
        said = " ".join((done.stdout or done.stderr).split())
        return Finding("problem", "driver", f"nvidia-smi fails: {said}", STAFF)
    return [_parsed(line) for line in done.stdout.splitlines() if line.count(",") == FIELDS.count(",")]


def _parsed(line: str) -> Gpu:
    index, name, driver, total, used, mode, mig, errors = (cell.strip() for cell in line.split(","))
    return Gpu(index, name, driver, _number(total), _number(used), mode, mig, int(_number(errors)))


def _number(text: str) -> float:
    """0 for `[N/A]`."""
    return float(text) if re.fullmatch(r"[\d.]+", text) else 0.0


def _gpus(gpus: list[Gpu]) -> Iterator[Finding]:
    if not gpus:
        yield Finding("problem", "driver", "nvidia-smi knows no GPU", STAFF)
        return
    names = {gpu.name for gpu in gpus}
    size = min(gpu.total_mb for gpu in gpus) / 1024
    text = f"{len(gpus)} x {', '.join(sorted(names))}, {size:,.0f} GiB, driver {gpus[0].driver}"
    yield Finding("ok", "driver", text)
    if len(names) > 1:
        yield Finding("warning", "GPUs", "they are not alike: a step is as slow as the slowest", _visible())
    for gpu in gpus:
        if gpu.used_mb > OTHERS_MB:
            text = f"{gpu.used_mb / 1024:,.0f} of {gpu.total_mb / 1024:,.0f} GiB are in use"
            yield Finding("warning", f"GPU {gpu.index}", text, f"wait for whoever uses it, or {_visible()}")
        if gpu.errors:
            text = f"{gpu.errors} memory errors that could not be corrected"
            yield Finding("problem", f"GPU {gpu.index}", text, f"{STAFF}; until then {_visible()}")
        if gpu.mode == "Prohibited":
            yield Finding("problem", f"GPU {gpu.index}", "it takes no work (compute mode Prohibited)", STAFF)
        if gpu.mig == "Enabled":
            yield Finding("warning", f"GPU {gpu.index}", "it is cut into parts (MIG): a stage needs whole ones", STAFF)


def _visible() -> str:
    return "CUDA_VISIBLE_DEVICES=0,1 ... with those to use"


def cuda_of_driver() -> str:
    """The newest CUDA that the driver knows, `12.4`; empty where nothing tells."""
    if shutil.which("nvidia-smi") is None:
        return ""
    try:
        done = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return ""
    found = re.search(r"CUDA Version:\s*([\d.]+)", done.stdout)
    return found[1] if found else ""


def torch_build() -> tuple[str, str]:
    """Torch's version and the CUDA that it is built for, by its own file; empty for the CPU, or without torch."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return "", ""
    text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    cuda = re.search(r"^cuda[^=]*=\s*'([\d.]+)'", text, re.MULTILINE)
    return metadata.version("torch"), cuda[1] if cuda else ""


def _torch(gpus: bool, driver: str) -> Finding:
    version, cuda = torch_build()
    if not version:
        return Finding("problem", "torch", "it is not installed", "pip install sft-sweeps, into this environment")
    if not cuda:
        text, change = f"{version} is built for CPUs", "pip install torch, as pytorch.org says for the driver's CUDA"
        if gpus:
            return Finding("problem", "torch", f"{text}, and there are GPUs", change)
        return Finding("ok", "torch", text)
    if not gpus:
        return Finding("ok", "torch", f"{version}, built for CUDA {cuda}; no GPU here uses it")
    if driver and int(cuda.partition(".")[0]) > int(driver.partition(".")[0]):
        text = f"{version} is built for CUDA {cuda}, and the driver knows {driver} at most"
        return Finding("problem", "torch", text, f"a torch for CUDA {driver} or older, or have the driver renewed")
    return Finding("ok", "torch", f"{version}, built for CUDA {cuda}{f'; the driver knows {driver}' if driver else ''}")


def _deepspeed() -> Iterator[Finding]:
    """Where it is let, it compiles parts of itself at run time; a lock that is left of that stops the next for ever."""
    try:
        text = f"{metadata.version('deepspeed')}; nothing of it is compiled at run time"
        yield Finding("ok", "DeepSpeed", text)
    except metadata.PackageNotFoundError:
        yield Finding("problem", "DeepSpeed", "it is not installed", "pip install sft-sweeps, into this environment")
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or "~/.cache/torch_extensions").expanduser()
    for lock in [*root.glob("*/lock"), *root.glob("*/*/lock")]:
        if time.time() - lock.stat().st_mtime > STALE_SECONDS:
            text = f"{lock} is left of a compilation that was ended: the next one waits for it without an end"
            yield Finding("warning", "compiled", text, f"rm {lock}")


def _kernels() -> Iterator[Finding]:
    """What training is faster with, and what compiling its kernels needs."""
    there = [name for name in ("flash_attn", "liger_kernel") if importlib.util.find_spec(name)]
    absent = [name for name in ("flash_attn", "liger_kernel") if name not in there]
    if absent:
        text = f"{', '.join(absent)}: not installed; training is exact without, and slower"
        yield Finding("warning", "kernels", text, "pip install 'sft-sweeps[gpu]' flash-attn")
    else:
        yield Finding("ok", "kernels", ", ".join(f"{name} {metadata.version(name)}" for name in there))
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if not compiler or not header.is_file():
        lacking = "no C compiler" if not compiler else f"no {header}"
        text = f"{lacking}: Triton, which the kernels are written in, compiles at its first use"
        yield Finding("warning", "compiler", text, "load a module with gcc, or install gcc and Python's headers")


def _nccl() -> Iterator[Finding]:
    """What lets ranks talk."""
    libraries = [one for one in ("nvidia-nccl-cu13", "nvidia-nccl-cu12") if _installed(one)]
    versions = ", ".join(f"{one} {metadata.version(one)}" for one in libraries) or "torch brings its own"
    yield Finding("ok", "NCCL", versions)
    for name in TROUBLE:
        if os.environ.get(name, "0") not in ("", "0"):
            yield Finding("warning", "NCCL", f"{name}={os.environ[name]} is set: slower", f"unset {name}")
    with_room = shutil.disk_usage("/dev/shm").total / 1e9 if Path("/dev/shm").is_dir() else 0.0
    if with_room < SHARED_MEMORY_GB:
        text = f"/dev/shm holds {with_room:.2f} GB: NCCL fails with more than one GPU"
        yield Finding("problem", "shared memory", text, "start the container with --ipc=host or --shm-size=16g")
    if any(Path("/sys/class/infiniband").glob("*")):
        locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        if locked != resource.RLIM_INFINITY:
            text = f"InfiniBand is here, and only {locked / 1e6:,.1f} MB may be locked: nodes talk over Ethernet"
            yield Finding("warning", "NCCL", text, "have memlock set to unlimited (ulimit -l)")


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _tried() -> Iterator[Finding]:
    """A product in bf16 on each GPU, and whether they reach each other."""
    command = [sys.executable, "-c", PROBE.read_text(encoding="utf-8")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        yield Finding("problem", "tried", f"no product within {PROBE_SECONDS} s: a GPU or its driver hangs", STAFF)
        return
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        yield Finding("problem", "tried", f"torch cannot use them: {said}", f"see the driver and torch above; {STAFF}")
        return
    yield from tried(json.loads(lines[-1]))


def tried(said: dict[str, object]) -> Iterator[Finding]:
    """What the probe's answer means."""
    wrong = said["wrong"]
    if wrong:
        yield Finding("problem", "tried", f"GPUs {wrong} compute wrong products", STAFF)
    else:
        yield Finding("ok", "tried", f"{said['count']} computed right in bf16, with NCCL {said['nccl']}")
    if apart := said["apart"]:
        text = f"GPUs {apart} do not reach each other's memory: what they exchange goes through the host"
        yield Finding("warning", "tried", text, "nothing of ours: how the machine is built, or a container's limits")
