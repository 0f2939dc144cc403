"""What only a GPU shows of generation: the answers of a CPU, layers on two devices, two replicas on one GPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from tiny import prompts

from sft_sweeps.generate import hf
from sft_sweeps.generate.answers import seed_of
from sft_sweeps.generate.hf import HFEngine
from sft_sweeps.generate.replicas import Replicas
from sft_sweeps.spec.evaluation import Engine

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="GENERATION ON GPUS NOT TESTED: there is none")
ENGINE = Engine("hf", "5", "fp32")
PROMPTS = [[1, *range(3, 4 + n)] for n in (3, 17, 5, 30, 9, 2, 12, 8, 21)]
SAMPLING = [(0.7 if n % 2 else 0.0, seed_of("x", n)) for n in range(len(PROMPTS))]


@pytest.fixture(scope="module", autouse=True)
def exact() -> Iterator[None]:
    """Without TF32, whose ten bits would let near ties fall otherwise than on a CPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[hf.Answer]:
    return HFEngine(folder, ENGINE, ["cpu"]).generate(prompts(PROMPTS, 16, SAMPLING), 4)


@pytest.mark.parametrize("devices", [(), ("cuda:0", "cpu"), ("cpu", "cuda:0")])
def test_a_gpu_answers_as_the_cpu_does(devices: tuple[str, ...], folder: Path, expected: list[hf.Answer]) -> None:
    made = HFEngine(folder, ENGINE, devices)
    places = {str(parameter.device) for parameter in made.model.parameters()}
    assert places == (set(devices) or {"cuda:0"})
    assert made.generate(prompts(PROMPTS, 16, SAMPLING), 4) == expected
    assert made.self_check(prompts(PROMPTS, 1), 8) == (len(PROMPTS), 0)


def test_replicas_see_the_gpu_that_they_are_given(folder: Path, expected: list[hf.Answer]) -> None:
    names, gigabytes = hf.gpus()
    assert gigabytes > 1
    assert hf.held(folder, ENGINE).size(len(names), gigabytes) == 1
    made = Replicas(folder, ENGINE, [names[0], names[-1]])
    try:
        assert made.generate(prompts(PROMPTS, 16, SAMPLING), 4) == expected
    finally:
        made.close()
