"""What a cluster's nodes cannot do for a sweep: said before it is submitted, each with what to type."""

from dataclasses import replace
from typing import Any

import pytest
import values

from sft_sweeps.config.cluster_schema import ClusterConfig, KindConfig
from sft_sweeps.execution import TrainExecution
from sft_sweeps.jobs.job import Job
from sft_sweeps.jobs.kinds import KINDS
from sft_sweeps.launch.slurm.preflight import needed_seconds, problems
from sft_sweeps.slurm.cluster import NodeKind, Partition
from sft_sweeps.spec.training import Shape

LLAMA33B = Shape(6656, 17920, 60, 52, 52, 32000, 2048)
NODE = NodeKind(4, 0, 64, 500_000, 8, "a100", ("ib",))
GPUS = Partition("gpu", True, True, 24 * 60, (NODE,))
CPUS = Partition("cpu", False, True, None, (replace(NODE, gpus=0, gpu_type="", cpus=128),))


def job(kind: Any = "train", gpus: int = 8, **model: Any) -> Job:
    base = values.model(weights="hub:org/name@1", gpus=gpus, name="big", **model)
    asked = (values.generation(values.stage(base)),) if kind == "generate" else ()
    execution = TrainExecution(processes=max(1, gpus)) if kind == "train" else KINDS[kind].execution()
    return Job(kind, "/store", values.stage(base), execution, asked)


def said(wanted: Job, partitions: list[Partition], warning: float = 60.0, **cluster: Any) -> list[str]:
    made = ClusterConfig(**{"name": "slurm", "time": "12:00:00", **cluster})
    seconds = {wanted.id: warning} if wanted.kind == "train" else {}
    return list(problems([wanted], made, partitions, seconds))


def test_what_fits_is_fine() -> None:
    for wanted in (job(), job(gpus=16), job("generate"), job("score"), job(gpus=0)):
        assert said(wanted, [GPUS, CPUS]) == []


WRONG: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    (
        {},
        {"partition": "gqu"},
        ["cluster.partition=gqu is no partition", "gpu (default), cpu", "Type cluster.partition=gpu"],
    ),
    ({}, {"partition": "cpu"}, ["model=big needs GPUs, and no node of partition cpu has one", "cluster.partition=gpu"]),
    ({}, {"time": "2-00:00:00"}, ["cluster.time=2-00:00:00 is over the limit of partition gpu, 1-00:00:00"]),
    (
        {},
        {"cpus_per_gpu": 16},
        ["asks for 128 CPUs on a node, the most that partition gpu has", "cluster.cpus_per_gpu=8"],
    ),
    ({}, {"memory": "600G"}, ["cluster.memory=600G", "614,400 MB", "500,000 MB", "cluster.memory=500000M"]),
    ({}, {"gpu_type": "h100"}, ["cluster.gpu_type=h100", "type a100; type cluster.gpu_type=a100"]),
    (
        {},
        {"constraint": "ibb"},
        ["cluster.constraint=ibb: no node of partition gpu has it; features there: ib", "constraint=ib"],
    ),
    ({"gpus": 64}, {}, ["needs 8 nodes with 8 GPUs each, partition gpu has 4 such nodes"]),
    (
        {"gpus": 16},
        {"gpus_per_node": 16, "cpus_per_gpu": 4},
        ["asks for 16 GPUs on a node", "type cluster.gpus_per_node=8"],
    ),
    (
        {"kind": "score"},
        {"kinds": {"score": KindConfig(partition="x")}},
        ["cluster.kinds.score.partition=x is no partition"],
    ),
    (
        {"kind": "generate", "shape": LLAMA33B},
        {"gpu_memory_gb": 10.0},
        [
            "cluster.gpu_memory_gb=10",
            "do not fit on GPUs of 10 GB: of 8, its layers can be spread over 1, 2, 4, 8;",
            "gb=22",
        ],
    ),
    (
        {"kind": "generate", "shape": LLAMA33B},
        {"replicas": 5},
        ["cluster.replicas=5: big answers on 4 GPUs a replica", "type cluster.replicas=2"],
    ),
]


@pytest.mark.parametrize(("wanted", "cluster", "says"), WRONG, ids=[str(case[:2]) for case in WRONG])
def test_what_does_not_fit(wanted: dict[str, Any], cluster: dict[str, Any], says: list[str]) -> None:
    (text,) = said(job(**wanted), [GPUS, CPUS], **cluster)
    for words in says:
        assert words in text


def test_a_partition_that_is_down_or_none() -> None:
    (text,) = said(job(), [replace(GPUS, up=False), replace(GPUS, name="spare", default=False)])
    assert "cluster.partition=gpu is not up" in text
    assert "type cluster.partition=spare" in text
    (text,) = said(job(), [replace(GPUS, default=False)])
    assert "cluster.partition is not set and this cluster has no default" in text


def test_nodes_that_are_down_come_back() -> None:
    assert said(job(gpus=32), [replace(GPUS, nodes=(replace(NODE, count=1, down=3),))]) == []


def test_one_partition_of_a_list_is_enough() -> None:
    assert said(job(), [GPUS, CPUS], partition="cpu,gpu") == []


def test_a_limit_that_leaves_no_time_to_train() -> None:
    """A 33B state takes minutes to write: a start must do more than load, save and end."""
    wanted = job(shape=LLAMA33B)
    needed = needed_seconds(wanted, {wanted.id: 800.0})
    assert needed > 1600
    assert said(wanted, [GPUS], 800.0, time="1:00:00") == []
    (text,) = said(wanted, [GPUS], 800.0, time="20")
    assert "cluster.time=0:20:00 is too short for big" in text
    typed = text.partition("type cluster.time=")[2].split()[0]
    assert said(wanted, [GPUS], 800.0, time=typed) == []


def test_equal_problems_are_said_once() -> None:
    jobs = [replace(job(), subject=values.stage(job().subject.model, seed=n)) for n in range(5)]  # type: ignore[union-attr]
    assert len(list(problems(jobs, ClusterConfig(name="slurm", partition="x"), [GPUS], {}))) == 1
